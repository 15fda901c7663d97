// @ts-check
import { errors, foldsOf, kinds, statusError } from "./columns.js";
import { el } from "./dom.js";
import { duration, offset } from "./format.js";
import { Minimap } from "./minimap.js";
import { Timeline, rowHeight, ticksOf } from "./timeline.js";

/** @typedef {import("./columns.js").Skeleton} Skeleton */
/** @typedef {import("./columns.js").Fold} Fold */
/** @typedef {import("./timeline.js").Range} Range */

const margin = 4; // rows drawn beyond the edges
const maxIndent = 24; // levels
const finest = 100; // nanoseconds: the shortest range that is shown
const deepestZoom = 2 ** 46; // of a trace of years, a shorter range has too few numbers of JavaScript

/**
 * The tree of spans. Only the visible rows are in the document; their bars are on a canvas.
 */
export class Waterfall {
  /**
   * @param {Skeleton} skeleton
   * @param {{open: (row: number) => void, zoomed: () => void}} actions
   * @param {HTMLElement} above what is above the names, beside the minimap
   */
  constructor(skeleton, actions, above) {
    this.s = skeleton;
    this.actions = actions;
    this.total = skeleton.id.length;
    this.selected = 0;
    this.top = 0; // how far it is scrolled, which an element forgets that leaves the document
    this.listening = new AbortController(); // aborted when another waterfall takes its place
    /** @type {Range} */
    this.range = this.all;
    /** @type {Set<number> | null} the rows that a search found */
    this.found = null;
    /** @type {Set<number>} */
    this.collapsed = new Set();
    this.shown = new Int32Array(this.total); // the rows that no collapsed row hides
    this.count = 0;
    /** @type {Map<number, Line>} */
    this.drawn = new Map();
    /** @type {Map<number, string[][]>} what is wrong with rows: a text and an explanation */
    this.marks = marksOf(skeleton);
    /** @type {Map<number, Fold>} */
    this.folds = foldsOf(skeleton);
    /** @type {Map<number, number[]>} */
    this.foldsBelow = new Map();
    for (const row of this.folds.keys()) {
      this.collapsed.add(row);
      const parent = skeleton.parent[row];
      const folds = this.foldsBelow.get(parent);
      if (folds) folds.push(row);
      else this.foldsBelow.set(parent, [row]);
    }
    this.timeline = new Timeline(skeleton, this.folds);
    this.minimap = new Minimap(skeleton, (range) => this.zoom(range));

    this.axis = el("div", { role: "columnheader", class: "time axis", title: "Drag to zoom, double-click to see all" });
    this.head = el("div", { role: "row", class: "row head", "aria-rowindex": 1 },
      el("div", { role: "columnheader", class: "name" }, "Span"),
      el("div", { role: "columnheader", class: "num start" }, "Start"),
      el("div", { role: "columnheader", class: "num self" }, "Self"),
      this.axis);
    this.body = el("div", { role: "rowgroup", class: "rows" }, this.timeline.canvas);
    this.tree = el("div", {
      class: "waterfall", role: "treegrid", tabindex: 0,
      "aria-label": "Spans of the trace", "aria-rowcount": this.total + 1,
      keydown: (e) => this.key(e), click: (e) => this.click(e), dblclick: (e) => this.zoomTo(this.rowAt(e)), mousemove: (e) => this.hover(e),
    }, el("div", { role: "rowgroup", class: "heads" }, this.head), this.body);
    this.element = el("div", { class: "timeline" },
      el("div", { class: "row over" }, above, el("div", { class: "time" }, this.minimap.element)), this.tree);
    this.dragAxis();

    let due = false;
    const later = () => {
      if (due) return;
      due = true;
      requestAnimationFrame(() => {
        due = false;
        this.render();
      });
    };
    this.tree.addEventListener("scroll", later, { passive: true });
    this.tree.addEventListener("wheel", (e) => this.wheel(e), { passive: false });
    const { signal } = this.listening;
    const resized = new ResizeObserver(() => {
      this.minimap.draw();
      later();
    });
    resized.observe(this.tree);
    signal.addEventListener("abort", () => resized.disconnect());
    const repaint = () => {
      this.timeline.colours = null;
      this.minimap.draw();
      this.render();
    };
    for (const query of ["(prefers-color-scheme: dark)", "print"]) matchMedia(query).addEventListener("change", repaint, { signal });
    addEventListener("themechange", repaint, { signal });
    this.arrange();
    this.ticks();
  }

  /** Draws the tree after it was put into the document. */
  attached() {
    this.tree.scrollTop = this.top;
    this.render();
  }

  focus() {
    this.tree.focus({ preventScroll: true });
  }

  /** Computes which rows are shown after one was collapsed or expanded. */
  arrange() {
    this.count = 0;
    for (let i = 0; i < this.total; i += this.collapsed.has(i) ? this.s.size[i] : 1) this.shown[this.count++] = i;
    this.body.style.height = `${this.count * rowHeight}px`;
    for (const { row } of this.drawn.values()) row.remove();
    this.drawn.clear();
  }

  /**
   * Returns the position of a row among the shown rows. If it is hidden, it returns the
   * position of the row that hides it.
   * @param {number} row
   */
  place(row) {
    let low = 0;
    let high = this.count - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.shown[middle] <= row) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  /** Draws the rows in view. What other rows were drawn on is used again. */
  render() {
    if (!this.tree.isConnected) return; // it has no size and no colors
    const top = this.top = this.tree.scrollTop;
    const from = Math.max(0, Math.floor(top / rowHeight) - margin);
    const to = Math.min(this.count, Math.ceil((top + this.tree.clientHeight) / rowHeight) + margin);
    const wanted = new Set(this.shown.subarray(from, to));
    const free = [];
    for (const [i, line] of this.drawn) {
      if (wanted.has(i)) continue;
      free.push(line);
      this.drawn.delete(i);
    }
    for (let at = from; at < to; at++) {
      const i = this.shown[at];
      if (this.drawn.has(i)) continue;
      let line = free.pop();
      if (!line) {
        line = newLine();
        this.body.append(line.row);
      }
      this.draw(i, line);
      line.row.style.top = `${at * rowHeight}px`;
      this.drawn.set(i, line);
    }
    for (const line of free) line.row.remove();
    this.tree.setAttribute("aria-activedescendant", `row-${this.selected}`);
    this.timeline.draw(this.shown, from, to, this.range, this.found);
  }

  /**
   * Draws row i. Only its bar is drawn by the timeline.
   * @param {number} i
   * @param {Line} line
   */
  draw(i, { row, name, toggle, label, marks, of, kind, start, self, time }) {
    const s = this.s;
    const missing = s.service[i] < 0;
    const fold = this.folds.get(i);
    const service = missing ? null : s.services[s.service[i]];
    const collapsed = this.collapsed.has(i);
    name.style.paddingInlineStart = `calc(var(--indent) * ${Math.min(s.depth[i], maxIndent)} + 4px)`;
    toggle.textContent = s.size[i] < 2 ? "" : collapsed ? "▸" : "▾";
    label.textContent = this.nameOf(i);
    marks.replaceChildren(...[
      fold !== undefined && fold.errors > 0 && el("span", { class: "badge error" }, errors(fold.errors)),
      this.repeats(i),
      ...(this.marks.get(i) ?? []).map(([text, why]) => el("span", { class: "badge warn", title: why }, text)),
      collapsed && !fold && el("span", { class: "hidden-rows" }, `+${s.size[i] - 1}`),
    ].filter((mark) => mark instanceof Node));
    of.textContent = fold?.caller ? `called from ${fold.caller}` : service ? service.name || "unnamed service" : "";
    kind.textContent = s.kind[i] > 0 && s.kind[i] < 5 ? kinds[s.kind[i]] : "";
    start.textContent = offset(s.offset[i]);
    self.textContent = missing || fold ? "" : duration(s.self[i]);
    time.ariaLabel = duration(fold ? fold.total : s.length[i]);
    row.id = `row-${i}`;
    row.dataset.row = String(i);
    row.className = `row${service ? ` c${service.colour}` : " missing"}${s.status[i] === statusError ? " failed" : ""}${fold ? " fold" : ""}${this.found?.has(i) ? " found" : ""}`;
    row.ariaLevel = String(s.depth[i] + 1);
    row.ariaRowIndex = String(i + 2);
    row.ariaSelected = String(i === this.selected);
    row.ariaExpanded = s.size[i] > 1 ? String(!collapsed) : null;
  }

  /** @param {number} i */
  nameOf(i) {
    const name = this.s.names[this.s.name[i]] || "unnamed span";
    const fold = this.folds.get(i);
    return fold ? `${fold.spans} × ${name}` : name;
  }

  /**
   * Returns the text that marks a row with repeated work below it.
   * @param {number} i
   */
  repeats(i) {
    const folds = this.foldsBelow.get(i);
    if (!folds) return null;
    const names = folds.sort((a, b) => (this.folds.get(b)?.spans ?? 0) - (this.folds.get(a)?.spans ?? 0)).map((f) => this.nameOf(f));
    const more = names.length > 1 ? ` and ${names.length - 1} more` : "";
    return el("span", { class: "badge repeats", title: `Repeated: ${names.join(", ")}` }, names[0] + more);
  }

  /**
   * Selects a row and expands the rows above it.
   * @param {number} row
   */
  select(row) {
    let hidden = false;
    for (let p = this.s.parent[row]; p >= 0; p = this.s.parent[p]) hidden = this.collapsed.delete(p) || hidden;
    if (hidden) this.arrange();
    for (const [i, line] of this.drawn) line.row.ariaSelected = String(i === row);
    this.selected = row;
    this.reveal();
  }

  /** Scrolls to the selected row, and moves the range if its bar is outside. */
  reveal() {
    const top = this.place(this.selected) * rowHeight;
    const box = this.tree;
    const room = box.clientHeight - this.head.offsetHeight - rowHeight;
    if (top < box.scrollTop) box.scrollTop = top;
    else if (top > box.scrollTop + room) box.scrollTop = top - room;
    const { from, to } = this.range;
    const [start, end] = [this.s.offset[this.selected], this.s.offset[this.selected] + this.s.length[this.selected]];
    if (start > to || end < from) this.zoom({ from: start - (to - from) / 10, to: start + ((to - from) * 9) / 10 });
    else this.render();
  }

  /** The range of the whole trace. */
  get all() {
    return { from: 0, to: Math.max(1, this.s.duration) };
  }

  /** The length of the shortest range that is shown. */
  get least() {
    return Math.max(finest, this.all.to / deepestZoom);
  }

  /** Whether the range is the whole trace. */
  get whole() {
    return this.range.from <= 0 && this.range.to >= this.all.to;
  }

  /**
   * Shows a range of time.
   * @param {Range} range
   */
  zoom(range) {
    const all = this.all.to;
    const length = Math.min(all, Math.max(this.least, range.to - range.from));
    const middle = (range.from + range.to) / 2;
    const from = Math.max(0, Math.min(all - length, middle - length / 2));
    this.range = { from, to: from + length };
    this.ticks();
    this.render();
    this.actions.zoomed();
  }

  /**
   * Shows a part of the range, or more than it.
   * @param {number} factor less than 1 to see less time
   * @param {number} at the time that stays where it is
   */
  zoomBy(factor, at) {
    const { from, to } = this.range;
    const length = Math.min(this.all.to, Math.max(this.least, (to - from) * factor));
    const start = at - ((at - from) * length) / (to - from);
    this.zoom({ from: start, to: start + length });
  }

  /**
   * Moves the range.
   * @param {number} share of its length
   */
  pan(share) {
    const { from, to } = this.range;
    const by = Math.max(-from, Math.min(this.all.to - to, share * (to - from)));
    this.zoom({ from: from + by, to: to + by });
  }

  /**
   * Shows a row as wide as there is room, with a little time around it.
   * @param {number} row
   */
  zoomTo(row) {
    if (row < 0) return;
    const around = Math.max(this.s.length[row], this.least) / 20;
    this.zoom({ from: this.s.offset[row] - around, to: this.s.offset[row] + this.s.length[row] + around });
  }

  /** Labels the axis. */
  ticks() {
    const { from, to } = this.range;
    this.axis.replaceChildren(...ticksOf(this.range).filter((t) => t.at < to - 0.08 * (to - from)).map((t) => {
      const label = el("span", {}, t.text);
      label.style.left = `${(100 * (t.at - from)) / (to - from)}%`;
      return label;
    }));
    this.minimap.set(this.range);
  }

  /** Lets the reader drag over a part of the axis to see only that. */
  dragAxis() {
    const box = el("i", { class: "dragged" });
    /** @type {number | null} */
    let first = null;
    let last = 0;
    /** @param {PointerEvent} e */
    const share = (e) => {
      const r = this.axis.getBoundingClientRect();
      return Math.max(0, Math.min(1, (e.clientX - r.left) / r.width));
    };
    this.axis.addEventListener("pointerdown", (e) => {
      if (e.button !== 0) return;
      first = last = share(e);
      this.axis.setPointerCapture(e.pointerId);
    });
    this.axis.addEventListener("pointermove", (e) => {
      if (first === null) return;
      last = share(e);
      box.style.left = `${100 * Math.min(first, last)}%`;
      box.style.width = `${100 * Math.abs(first - last)}%`;
      this.axis.append(box);
    });
    const end = () => {
      box.remove();
      first = null;
    };
    this.axis.addEventListener("pointercancel", end);
    this.axis.addEventListener("pointerup", () => {
      const { from, to } = this.range;
      const [a, b] = [Math.min(first ?? 0, last), Math.max(first ?? 0, last)];
      if (first !== null && (b - a) * this.axis.clientWidth > 4) this.zoom({ from: from + a * (to - from), to: from + b * (to - from) });
      end();
    });
    this.axis.addEventListener("dblclick", () => this.zoom(this.all));
  }

  /**
   * Zooms with Ctrl or Cmd, and moves the range sideways.
   * @param {WheelEvent} e
   */
  wheel(e) {
    const r = this.timeline.canvas.getBoundingClientRect();
    const x = (e.clientX - r.left) / r.width;
    const sideways = e.shiftKey ? e.deltaX || e.deltaY : Math.abs(e.deltaX) > Math.abs(e.deltaY) ? e.deltaX : 0;
    if (e.ctrlKey || e.metaKey) {
      const { from, to } = this.range;
      this.zoomBy(Math.exp(Math.max(-1, Math.min(1, e.deltaY / 200))), from + Math.max(0, Math.min(1, x)) * (to - from));
    } else if (sideways && x >= 0 && !this.whole) {
      this.pan(sideways / r.width);
    } else return;
    e.preventDefault();
  }

  /** @param {MouseEvent} e */
  rowAt(e) {
    return Number(/** @type {HTMLElement} */ (e.target).closest("[data-row]")?.getAttribute("data-row") ?? -1);
  }

  /**
   * Says what is under the pointer.
   * @param {MouseEvent} e
   */
  hover(e) {
    const cell = /** @type {HTMLElement} */ (e.target);
    const row = this.rowAt(e);
    if (row < 0) return;
    if (cell.classList.contains("time")) cell.title = this.timeline.tell(row, e.clientX - cell.getBoundingClientRect().left);
    else if (cell.matches(".label, .of")) cell.title = cell.textContent ?? "";
  }

  /**
   * Makes the rows that a search found stand out.
   * @param {Set<number> | null} rows
   */
  find(rows) {
    this.found = rows;
    for (const [i, { row }] of this.drawn) row.classList.toggle("found", rows?.has(i) ?? false);
    this.render();
  }

  /**
   * Selects the next row that a search found.
   * @param {1 | -1} by
   */
  next(by) {
    const rows = [...(this.found ?? [])].filter((r) => !this.folds.has(r)).sort((a, b) => a - b);
    if (rows.length === 0) return;
    const after = by > 0 ? rows.find((r) => r > this.selected) ?? rows[0] : rows.findLast((r) => r < this.selected) ?? rows[rows.length - 1];
    this.select(after);
  }

  /**
   * Takes over what the reader did to another waterfall of the same trace, which has fewer spans.
   * @param {Waterfall} before
   */
  like(before) {
    before.listening.abort();
    const key = (/** @type {Waterfall} */ w, /** @type {number} */ i) => `${w.s.id[i]} ${w.folds.has(i)}`;
    const rows = new Map(this.s.id.map((_, i) => [key(this, i), i]));
    for (const [i] of before.folds) {
      const row = rows.get(key(before, i));
      if (row !== undefined && !before.collapsed.has(i)) this.collapsed.delete(row);
    }
    for (const i of before.collapsed) this.collapsed.add(rows.get(key(before, i)) ?? -1);
    this.collapsed.delete(-1);
    this.selected = rows.get(key(before, before.selected)) ?? 0;
    if (!before.whole) {
      const earlier = Number(BigInt(before.s.start) - BigInt(this.s.start));
      this.range = { from: before.range.from + earlier, to: before.range.to + earlier };
    }
    this.top = before.top;
    this.arrange();
    this.ticks();
  }

  /**
   * @param {number} row
   * @param {boolean} collapse
   */
  fold(row, collapse) {
    if (this.s.size[row] < 2) return;
    if (collapse) this.collapsed.add(row);
    else this.collapsed.delete(row);
    if (collapse && this.selected > row && this.selected < row + this.s.size[row]) this.selected = row;
    this.arrange();
    this.render();
  }

  /** @param {MouseEvent} e */
  click(e) {
    const target = /** @type {HTMLElement} */ (e.target);
    const row = this.rowAt(e);
    if (row < 0) return;
    if (target.classList.contains("toggle") && this.s.size[row] > 1) {
      this.fold(row, !this.collapsed.has(row));
      return;
    }
    this.select(row);
    this.actions.open(row);
  }

  /** @param {KeyboardEvent} e */
  key(e) {
    if (e.ctrlKey || e.metaKey || e.altKey) return;
    const s = this.s;
    const { from, to } = this.range;
    const seen = s.offset[this.selected] + s.length[this.selected] / 2;
    const middle = seen > from && seen < to ? seen : (from + to) / 2;
    const row = this.selected;
    const page = Math.max(1, Math.floor(this.tree.clientHeight / rowHeight) - 2);
    /** @param {number} by */
    const move = (by) => this.select(this.shown[Math.max(0, Math.min(this.count - 1, this.place(row) + by))]);
    switch (e.key) {
      case "ArrowDown": move(1); break;
      case "ArrowUp": move(-1); break;
      case "PageDown": move(page); break;
      case "PageUp": move(-page); break;
      case "Home": move(-this.count); break;
      case "End": move(this.count); break;
      case "+": case "=": this.zoomBy(0.5, middle); break;
      case "-": this.zoomBy(2, middle); break;
      case "0": this.zoom(this.all); break;
      case "z": this.zoomTo(row); break;
      case "n": this.next(1); break;
      case "N": this.next(-1); break;
      case "ArrowRight":
        if (e.shiftKey) this.pan(0.25);
        else if (this.collapsed.has(row)) this.fold(row, false);
        else if (s.size[row] > 1) this.select(row + 1);
        break;
      case "ArrowLeft":
        if (e.shiftKey) this.pan(-0.25);
        else if (s.size[row] > 1 && !this.collapsed.has(row)) this.fold(row, true);
        else if (s.parent[row] >= 0) this.select(s.parent[row]);
        break;
      case "Enter":
      case " ":
        this.actions.open(row);
        break;
      case "e": {
        let next = s.status.indexOf(statusError, row + 1);
        if (next < 0) next = s.status.indexOf(statusError);
        if (next >= 0) this.select(next);
        break;
      }
      default:
        return;
    }
    e.preventDefault();
  }
}

/** @typedef {ReturnType<typeof newLine>} Line the elements of a row */

/** Makes the elements of a row. Those that are empty are not shown. */
function newLine() {
  const toggle = el("span", { class: "toggle", "aria-hidden": "true" });
  const label = el("span", { class: "label" });
  const marks = el("span", { class: "marks" });
  const of = el("span", { class: "of" });
  const kind = el("span", { class: "kind" });
  const name = el("div", { role: "gridcell", class: "name" }, toggle, el("span", { class: "mark", title: "error" }, "!"), label, marks, of, kind);
  const start = el("div", { role: "gridcell", class: "num start" });
  const self = el("div", { role: "gridcell", class: "num self" });
  const time = el("div", { role: "gridcell", class: "time" });
  return { row: el("div", { role: "row" }, name, start, self, time), name, toggle, label, marks, of, kind, start, self, time };
}

/**
 * Returns what is wrong with rows.
 * @param {Skeleton} s
 */
function marksOf(s) {
  /** @type {Map<number, string[][]>} */
  const marks = new Map();
  /** @param {number} row @param {string} text @param {string} why */
  const mark = (row, text, why) => marks.set(row, [...(marks.get(row) ?? []), [text, why]]);
  for (const row of s.detached ?? []) mark(row, "circular parent", "The parent of this span is below the span itself.");
  for (const row of s.twice ?? []) mark(row, "id used twice", "Another span of this trace has the same id.");
  for (const row of s.late ?? []) mark(row, "after its parent", "This span began after its parent had ended.");
  for (const [n, row] of (s.skewRow ?? []).entries()) {
    const shift = s.skewShift?.[n] ?? 0;
    mark(row, `clock ${shift > 0 ? "+" : ""}${offset(shift).replace("+", "")}`, "The clock of this process differs from that of its caller at least by so much.");
  }
  return marks;
}
