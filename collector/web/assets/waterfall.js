// @ts-check
import { el } from "./dom.js";
import { duration, offset } from "./format.js";

/**
 * A trace with one column per property, as returned by skeleton.go. Times are
 * nanoseconds since its start. Rows are in the order of the tree: a subtree is a row
 * and the size-1 rows after it.
 * @typedef {object} Skeleton
 * @property {string} traceId
 * @property {string} start
 * @property {number} duration
 * @property {number} spans
 * @property {{name: string, colour: number}[]} services
 * @property {string[]} names
 * @property {string[]} id
 * @property {number[]} parent
 * @property {number[]} depth
 * @property {number[]} size
 * @property {number[]} offset
 * @property {number[]} length
 * @property {number[]} self
 * @property {number[]} name
 * @property {number[]} service
 * @property {number[]} kind
 * @property {number[]} status
 * @property {number[] | null} detached
 * @property {number[] | null} foldRow
 * @property {number[] | null} foldSpans
 * @property {number[] | null} foldErrors
 * @property {number[] | null} foldTotal
 * @property {string[] | null} foldCaller
 * @property {number[] | null} eventRow
 * @property {number[] | null} eventName
 * @property {number[] | null} eventOffset
 * @property {number[] | null} eventLength
 * @property {number[] | null} criticalRow
 * @property {number[] | null} criticalOffset
 * @property {number[] | null} criticalLength
 */

/**
 * A row that represents the rows below it, which do the same work.
 * @typedef {{spans: number, errors: number, total: number, caller: string}} Fold
 */

export const kinds = ["internal", "server", "client", "producer", "consumer", "unspecified"];
export const statusError = 2;

const rowHeight = 26; // pixels, as in app.css
const margin = 12; // rows drawn beyond the edges
const maxIndent = 24; // levels
const finest = 0.1; // percent of the width: what is closer together is one bar

/** The tree of spans. Only the visible rows are in the document. */
export class Waterfall {
  /**
   * @param {Skeleton} skeleton
   * @param {{open: (row: number) => void, close: () => boolean}} actions
   */
  constructor(skeleton, actions) {
    this.s = skeleton;
    this.actions = actions;
    this.total = skeleton.id.length;
    this.scale = 100 / Math.max(1, skeleton.duration); // percent per nanosecond
    this.selected = 0;
    /** @type {Set<number>} */
    this.collapsed = new Set();
    this.shown = new Int32Array(this.total); // the rows that no collapsed row hides
    this.count = 0;
    /** @type {Map<number, HTMLElement>} */
    this.drawn = new Map();
    this.detached = new Set(skeleton.detached ?? []);
    /** @type {Map<number, Fold>} */
    this.folds = foldsOf(skeleton);
    /** @type {Map<number, number[]>} */
    this.foldsBelow = new Map();
    for (const row of this.folds.keys()) {
      this.collapsed.add(row);
      const parent = skeleton.parent[row];
      this.foldsBelow.set(parent, [...(this.foldsBelow.get(parent) ?? []), row]);
    }
    this.eventsOf = firstEvents(skeleton);
    /** @type {Map<number, number[]>} parts of the critical path, by row */
    this.critical = new Map();
    for (const [n, row] of (skeleton.criticalRow ?? []).entries()) {
      const parent = skeleton.parent[row];
      for (const of of this.folds.has(parent) ? [row, parent] : [row]) {
        const parts = this.critical.get(of);
        if (parts) parts.push(n);
        else this.critical.set(of, [n]);
      }
    }

    const ticks = ticksOf(skeleton.duration);
    this.lines = el("div", { class: "lines", "aria-hidden": "true" });
    const axis = el("div", { role: "columnheader", class: "time axis" });
    for (const ns of ticks) {
      const line = el("i");
      line.style.left = `${ns * this.scale}%`;
      this.lines.append(line);
      if (ns > 0.92 * skeleton.duration) continue; // no room for its label
      const label = el("span", {}, ns === 0 ? "0" : duration(ns).replace(/\.0+ /, " "));
      label.style.left = line.style.left;
      axis.append(label);
    }
    this.head = el("div", { role: "row", class: "row head", "aria-rowindex": 1 },
      el("div", { role: "columnheader", class: "name" }, "Span"),
      el("div", { role: "columnheader", class: "num start" }, "Start"),
      el("div", { role: "columnheader", class: "num self" }, "Self"),
      axis);
    this.body = el("div", { role: "rowgroup", class: "rows" }, this.lines);
    this.element = el("div", {
      class: "waterfall", role: "treegrid", tabindex: 0,
      "aria-label": "Spans of the trace", "aria-rowcount": this.total + 1,
      keydown: (e) => this.key(e), click: (e) => this.click(e),
    }, el("div", { role: "rowgroup", class: "heads" }, this.head), this.body);

    let due = false;
    const later = () => {
      if (due) return;
      due = true;
      requestAnimationFrame(() => {
        due = false;
        this.render();
      });
    };
    this.element.addEventListener("scroll", later, { passive: true });
    new ResizeObserver(later).observe(this.element);
    this.arrange();
  }

  focus() {
    this.element.focus({ preventScroll: true });
  }

  /** Computes which rows are shown after one was collapsed or expanded. */
  arrange() {
    this.count = 0;
    for (let i = 0; i < this.total; i += this.collapsed.has(i) ? this.s.size[i] : 1) this.shown[this.count++] = i;
    this.body.style.height = `${this.count * rowHeight}px`;
    for (const row of this.drawn.values()) row.remove();
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

  /** Draws the rows in view and removes the others. */
  render() {
    const top = this.element.scrollTop;
    const from = Math.max(0, Math.floor(top / rowHeight) - margin);
    const to = Math.min(this.count, Math.ceil((top + this.element.clientHeight) / rowHeight) + margin);
    const wanted = new Set(this.shown.subarray(from, to));
    for (const [i, row] of this.drawn) {
      if (!wanted.has(i)) {
        row.remove();
        this.drawn.delete(i);
      }
    }
    for (let at = from; at < to; at++) {
      const i = this.shown[at];
      if (this.drawn.has(i)) continue;
      const row = this.draw(i);
      row.style.top = `${at * rowHeight}px`;
      this.drawn.set(i, row);
      this.body.append(row);
    }
    this.element.setAttribute("aria-activedescendant", `row-${this.selected}`);
  }

  /**
   * @param {number} i
   * @returns {HTMLElement}
   */
  draw(i) {
    const s = this.s;
    const missing = s.service[i] < 0;
    const failed = s.status[i] === statusError;
    const fold = this.folds.get(i);
    const name = this.nameOf(i);
    const service = missing ? null : s.services[s.service[i]];
    const took = duration(fold ? fold.total : s.length[i]);

    const toggle = el("span", { class: "toggle", "aria-hidden": "true" });
    if (s.size[i] > 1) toggle.textContent = this.collapsed.has(i) ? "▸" : "▾";
    const label = el("div", { role: "gridcell", class: "name" }, toggle,
      failed && el("span", { class: "mark", title: "error" }, "!"),
      el("span", { class: "label", title: name }, name),
      fold !== undefined && fold.errors > 0 && el("span", { class: "badge error" }, errors(fold.errors)),
      this.repeats(i),
      fold?.caller ? el("span", { class: "of", title: fold.caller }, `called from ${fold.caller}`)
        : service && el("span", { class: "of", title: service.name }, service.name || "unnamed service"),
      s.kind[i] > 0 && s.kind[i] < 5 && el("span", { class: "kind" }, kinds[s.kind[i]] ?? "internal"),
      this.collapsed.has(i) && !fold && el("span", { class: "hidden-rows" }, `+${s.size[i] - 1}`),
      this.detached.has(i) && el("span", { class: "badge", title: "The parent of this span is below the span itself." }, "circular parent"));
    label.style.paddingInlineStart = `calc(var(--indent) * ${Math.min(s.depth[i], maxIndent)} + 4px)`;

    const left = clamp(s.offset[i] * this.scale);
    const width = Math.min(100 - left, s.length[i] * this.scale);
    const bars = fold ? this.barsOf(i) : [this.bar(left, width)];
    if (!fold) this.drawEvents(i, bars[0]);
    const tip = el("span", { class: "took" }, took);
    if (left + width < 80) tip.style.left = `${left + width}%`;
    else if (left > 20) tip.style.right = `${100 - left}%`;
    else {
      tip.classList.add("inside");
      tip.style.right = `${100 - left - width}%`;
    }

    const row = el("div", {
      role: "row", id: `row-${i}`, "data-row": i,
      class: `row${service ? ` c${service.colour}` : " missing"}${failed ? " failed" : ""}${fold ? " fold" : ""}`,
      "aria-level": s.depth[i] + 1, "aria-rowindex": i + 2, "aria-selected": String(i === this.selected),
    }, label,
    el("div", { role: "gridcell", class: "num start" }, offset(s.offset[i])),
    el("div", { role: "gridcell", class: "num self" }, missing || fold ? "" : duration(s.self[i])),
    el("div", { role: "gridcell", class: "time" }, ...bars, ...this.criticalOf(i), tip));
    if (s.size[i] > 1) row.setAttribute("aria-expanded", String(!this.collapsed.has(i)));
    return row;
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
   * @param {number} left percent
   * @param {number} width percent
   */
  bar(left, width) {
    const bar = el("div", { class: "bar" });
    bar.style.left = `${left}%`;
    bar.style.width = `${width}%`;
    return bar;
  }

  /**
   * Returns the bars of the rows of a fold, which are ordered by start.
   * @param {number} fold
   */
  barsOf(fold) {
    const s = this.s;
    const out = [];
    let from = -1;
    let to = -1;
    for (let i = fold + 1; i < fold + s.size[fold]; i++) {
      const left = clamp(s.offset[i] * this.scale);
      const right = clamp((s.offset[i] + s.length[i]) * this.scale);
      if (from >= 0 && left > to + finest) {
        out.push(this.bar(from, to - from));
        from = -1;
      }
      if (from < 0) [from, to] = [left, right];
      to = Math.max(to, right);
    }
    return [...out, this.bar(from, to - from)];
  }

  /**
   * Returns the lines that mark what row i has of the critical path.
   * @param {number} i
   */
  criticalOf(i) {
    const { criticalOffset, criticalLength } = this.s;
    /** @type {HTMLElement[]} */
    const out = [];
    let from = -1;
    let to = -1;
    const line = () => {
      if (from < 0 || to - from < 2 * finest) return;
      const part = el("b", { class: "critical", title: "On the critical path: the trace took as long as these parts together" });
      part.style.left = `${from}%`;
      part.style.width = `${to - from}%`;
      out.push(part);
    };
    for (const n of this.critical.get(i) ?? []) {
      const left = clamp((criticalOffset?.[n] ?? 0) * this.scale);
      const right = clamp(((criticalOffset?.[n] ?? 0) + (criticalLength?.[n] ?? 0)) * this.scale);
      if (from >= 0 && left > to + finest) {
        line();
        from = -1;
      }
      if (from < 0) from = left;
      to = Math.max(to, right);
    }
    line();
    return out;
  }

  /**
   * @param {number} i
   * @param {HTMLElement} bar
   */
  drawEvents(i, bar) {
    const s = this.s;
    const { eventRow, eventOffset, eventLength, eventName } = s;
    if (!eventRow || !eventOffset || !eventLength || !eventName || s.length[i] <= 0) return;
    const first = this.eventsOf.get(i);
    if (first === undefined) return;
    for (let e = first; eventRow[e] === i; e++) {
      const tick = el("i", { title: `${s.names[eventName[e]]} ${offset(eventOffset[e] - s.offset[i])}` });
      const left = clamp((100 * (eventOffset[e] - s.offset[i])) / s.length[i]);
      tick.style.left = `${left}%`;
      tick.style.width = `${Math.min(100 - left, (100 * eventLength[e]) / s.length[i])}%`;
      bar.append(tick);
    }
  }

  /**
   * Selects a row and expands the rows above it.
   * @param {number} row
   */
  select(row) {
    let hidden = false;
    for (let p = this.s.parent[row]; p >= 0; p = this.s.parent[p]) hidden = this.collapsed.delete(p) || hidden;
    if (hidden) this.arrange();
    this.drawn.get(this.selected)?.setAttribute("aria-selected", "false");
    this.selected = row;
    this.drawn.get(row)?.setAttribute("aria-selected", "true");
    this.reveal();
  }

  /** Scrolls to the selected row. */
  reveal() {
    const top = this.place(this.selected) * rowHeight;
    const box = this.element;
    const room = box.clientHeight - this.head.offsetHeight - rowHeight;
    if (top < box.scrollTop) box.scrollTop = top;
    else if (top > box.scrollTop + room) box.scrollTop = top - room;
    this.render();
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
    const row = Number(target.closest("[data-row]")?.getAttribute("data-row") ?? -1);
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
    const row = this.selected;
    const page = Math.max(1, Math.floor(this.element.clientHeight / rowHeight) - 2);
    /** @param {number} by */
    const move = (by) => this.select(this.shown[Math.max(0, Math.min(this.count - 1, this.place(row) + by))]);
    switch (e.key) {
      case "ArrowDown": move(1); break;
      case "ArrowUp": move(-1); break;
      case "PageDown": move(page); break;
      case "PageUp": move(-page); break;
      case "Home": move(-this.count); break;
      case "End": move(this.count); break;
      case "ArrowRight":
        if (this.collapsed.has(row)) this.fold(row, false);
        else if (s.size[row] > 1) this.select(row + 1);
        break;
      case "ArrowLeft":
        if (s.size[row] > 1 && !this.collapsed.has(row)) this.fold(row, true);
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

/** @param {number} n */
export function errors(n) {
  return `${n} ${n === 1 ? "error" : "errors"}`;
}

/**
 * @param {Skeleton} s
 * @returns {Map<number, Fold>}
 */
function foldsOf(s) {
  return new Map((s.foldRow ?? []).map((row, i) => [row, {
    spans: s.foldSpans?.[i] ?? 0, errors: s.foldErrors?.[i] ?? 0, total: s.foldTotal?.[i] ?? 0, caller: s.foldCaller?.[i] ?? "",
  }]));
}

/** @param {number} percent */
function clamp(percent) {
  return Math.max(0, Math.min(100, percent));
}

/**
 * Returns the first event of each row that has events. The events of a row are adjacent.
 * @param {Skeleton} s
 * @returns {Map<number, number>}
 */
function firstEvents(s) {
  const first = new Map();
  const rows = s.eventRow ?? [];
  for (let e = rows.length - 1; e >= 0; e--) first.set(rows[e], e);
  return first;
}

/**
 * Returns about five round times within a duration.
 * @param {number} total nanoseconds
 */
function ticksOf(total) {
  if (total <= 0) return [0];
  const power = 10 ** Math.floor(Math.log10(total / 4));
  const step = [1, 2, 5, 10].map((m) => m * power).find((t) => total / t <= 6) ?? 10 * power;
  const ticks = [];
  for (let t = 0; t < total; t += step) ticks.push(Math.round(t));
  return ticks;
}
