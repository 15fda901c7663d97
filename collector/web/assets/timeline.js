// @ts-check
import { ByRow, statusError } from "./columns.js";
import { duration, offset } from "./format.js";

/** @typedef {import("./columns.js").Skeleton} Skeleton */
/** @typedef {import("./columns.js").Fold} Fold */
/** @typedef {{from: number, to: number}} Range nanoseconds since the start of the trace */

export const rowHeight = 26; // pixels, as in app.css
const bar = { top: 7, height: 12, least: 2 }; // pixels
const critical = { top: 21, height: 3 };
const near = 4; // pixels around an event in which the pointer is on it

/**
 * The colors of the page, as the theme has them now.
 * @param {HTMLElement} inside
 */
export function palette(inside) {
  const probe = document.createElement("span");
  inside.append(probe);
  /** @param {string} colour */
  const resolved = (colour) => {
    probe.style.color = colour;
    return getComputedStyle(probe).color;
  };
  const services = [];
  for (let n = 0; n < 12; n++) {
    probe.className = `c${n}`;
    services.push(resolved("var(--c)"));
  }
  const out = {
    services, text: resolved("var(--text)"), muted: resolved("var(--muted)"), line: resolved("var(--line)"),
    strong: resolved("var(--line-strong)"), surface: resolved("var(--surface)"), error: resolved("var(--error)"),
  };
  probe.remove();
  return out;
}

/**
 * Returns about five round times within a range.
 * @param {Range} range
 * @returns {{at: number, text: string}[]}
 */
export function ticksOf({ from, to }) {
  const length = to - from;
  if (!(length > 0)) return [{ at: from, text: offset(from) }];
  const power = 10 ** Math.floor(Math.log10(length / 4));
  const step = Math.max(1, [1, 2, 5, 10].map((m) => m * power).find((t) => length / t <= 6) ?? 10 * power);
  const ticks = [];
  for (let n = Math.ceil(from / step); n * step < to; n++) ticks.push({ at: n * step, text: tick(n * step, step, to) });
  return ticks;
}

/**
 * Formats a time with as many digits as tell it from the next one.
 * @param {number} at
 * @param {number} step
 * @param {number} most the largest time
 */
function tick(at, step, most) {
  if (at === 0) return "0";
  if (most >= 600e9 && step >= (most < 3600e9 ? 1e9 : 60e9)) return duration(Math.round(at));
  const [unit, name] = most < 1e3 ? [1, "ns"] : most < 1e6 ? [1e3, "µs"] : most < 1e9 ? [1e6, "ms"] : [1e9, "s"];
  const digits = Math.max(0, Math.ceil(-Math.log10(step / unit) - 1e-9));
  return `${(at / unit).toFixed(digits)} ${name}`;
}

/** Draws the bars of rows on a canvas. */
export class Timeline {
  /**
   * @param {Skeleton} s
   * @param {Map<number, Fold>} folds
   */
  constructor(s, folds) {
    this.s = s;
    this.folds = folds;
    this.canvas = document.createElement("canvas");
    this.canvas.className = "bars";
    this.canvas.setAttribute("aria-hidden", "true");
    this.events = new ByRow(s.eventRow, s.id.length);
    this.critical = new ByRow(s.criticalRow, s.id.length);
    /** @type {ReturnType<typeof palette> | null} */
    this.colours = null;
    /** @type {Range} */
    this.range = { from: 0, to: 1 };
    this.width = 1; // of the canvas, in pixels of CSS
  }

  /**
   * Draws the rows shown[from], …, shown[to-1] below each other.
   * @param {Int32Array} shown
   * @param {number} from
   * @param {number} to
   * @param {Range} range
   * @param {Set<number> | null} found rows that stand out, if only some do
   */
  draw(shown, from, to, range, found) {
    const { canvas } = this;
    const height = Math.max(1, (to - from) * rowHeight);
    const dots = devicePixelRatio || 1;
    this.range = range;
    canvas.style.top = `${from * rowHeight}px`;
    canvas.style.height = `${height}px`;
    this.width = Math.max(1, canvas.clientWidth);
    const [w, h] = [Math.round(this.width * dots), Math.round(height * dots)];
    const g = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    if (canvas.width !== w || canvas.height !== h) [canvas.width, canvas.height] = [w, h];
    g.setTransform(dots, 0, 0, dots, 0, 0);
    g.clearRect(0, 0, this.width, height);
    this.colours ??= palette(/** @type {HTMLElement} */ (canvas.parentElement));
    g.font = `11.5px ${getComputedStyle(canvas).fontFamily}`;
    g.textBaseline = "middle";
    g.fillStyle = this.colours.line;
    for (const t of ticksOf(range)) g.fillRect(Math.round(this.x(t.at)), 0, 1, height);
    for (let at = from; at < to; at++) {
      g.globalAlpha = !found || found.has(shown[at]) ? 1 : 0.3;
      this.drawRow(g, shown[at], (at - from) * rowHeight);
    }
    g.globalAlpha = 1;
  }

  /** @param {number} ns */
  x(ns) {
    return ((ns - this.range.from) / (this.range.to - this.range.from)) * this.width;
  }

  /**
   * @param {CanvasRenderingContext2D} g
   * @param {number} i
   * @param {number} y
   */
  drawRow(g, i, y) {
    const { s } = this;
    const c = /** @type {ReturnType<typeof palette>} */ (this.colours);
    const fold = this.folds.get(i);
    const [left, right] = [this.x(s.offset[i]), Math.max(this.x(s.offset[i] + s.length[i]), this.x(s.offset[i]) + bar.least)];
    if (right < 0 || left > this.width) {
      g.fillStyle = c.muted;
      g.fillText(right < 0 ? "◂" : "▸", right < 0 ? 0 : this.width - 9, y + bar.top + bar.height / 2);
      return;
    }
    g.fillStyle = s.service[i] < 0 ? c.strong : c.services[s.services[s.service[i]].colour];
    if (fold) this.merged(i + 1, i + s.size[i], (n) => [s.offset[n], s.offset[n] + s.length[n]], (from, to) => this.bar(g, from, to, y));
    else if (s.service[i] >= 0) this.bar(g, left, right, y);
    else for (let x = Math.max(left, -8 + (left % 8)); x < Math.min(right, this.width); x += 8) g.fillRect(x, y + bar.top, Math.min(4, right - x), bar.height);
    if (s.status[i] === statusError) {
      g.strokeStyle = c.error;
      g.lineWidth = 1.5;
      g.strokeRect(Math.max(left, -3) - 0.75, y + bar.top - 0.75, Math.min(right, this.width + 3) - Math.max(left, -3) + 1.5, bar.height + 1.5);
    }
    if (!fold) {
      g.fillStyle = c.surface;
      const alpha = g.globalAlpha;
      g.globalAlpha *= 0.85;
      for (const e of this.events.of(i)) {
        const [from, to] = this.event(e);
        if (to >= 0 && from <= this.width) g.fillRect(Math.max(0, from), y + bar.top + 2, Math.min(to, this.width) - Math.max(0, from), bar.height - 4);
      }
      g.globalAlpha = alpha;
    }
    g.fillStyle = c.text;
    const parts = fold ? [...this.critical.of(i + 1, i + s.size[i])].sort((a, b) => (s.criticalOffset?.[a] ?? 0) - (s.criticalOffset?.[b] ?? 0)) : this.critical.of(i);
    this.merged(0, parts.length, (n) => {
      const at = s.criticalOffset?.[parts[n]] ?? 0;
      return [at, at + (s.criticalLength?.[parts[n]] ?? 0)];
    }, (from, to) => g.fillRect(Math.max(0, from), y + critical.top, Math.min(to, this.width) - Math.max(0, from), critical.height));
    this.label(g, duration(fold ? fold.total : s.length[i]), Math.max(0, left), Math.min(this.width, right), y + bar.top + bar.height / 2);
  }

  /**
   * Draws parts that are closer together than a pixel as one.
   * @param {number} first
   * @param {number} end
   * @param {(n: number) => [number, number]} part the times of a part; the parts are ordered by start
   * @param {(from: number, to: number) => void} draw in pixels
   */
  merged(first, end, part, draw) {
    let [from, to] = [NaN, NaN];
    for (let n = first; n < end; n++) {
      const [start, stop] = part(n);
      const [left, right] = [this.x(start), this.x(stop)];
      if (right < 0 || left > this.width) continue;
      if (left > to + 1) {
        draw(from, Math.max(to, from + bar.least));
        from = NaN;
      }
      if (from !== from) [from, to] = [left, right];
      to = Math.max(to, right);
    }
    if (from === from) draw(from, Math.max(to, from + bar.least));
  }

  /**
   * @param {CanvasRenderingContext2D} g
   * @param {number} left
   * @param {number} right
   * @param {number} y
   */
  bar(g, left, right, y) {
    const [from, to] = [Math.max(left, -3), Math.min(right, this.width + 3)];
    g.beginPath();
    g.roundRect(from, y + bar.top, to - from, bar.height, Math.min(2, (to - from) / 2));
    g.fill();
  }

  /**
   * Writes how long a row took: after its bar, before it, or inside.
   * @param {CanvasRenderingContext2D} g
   * @param {string} text
   * @param {number} left
   * @param {number} right
   * @param {number} y
   */
  label(g, text, left, right, y) {
    const c = /** @type {ReturnType<typeof palette>} */ (this.colours);
    const gap = 6;
    const width = g.measureText(text).width;
    g.fillStyle = c.muted;
    if (right + gap + width <= this.width) g.fillText(text, right + gap, y);
    else if (left >= width + gap) g.fillText(text, left - gap - width, y);
    else if (right - left > width + 3 * gap) {
      g.fillStyle = c.surface;
      g.beginPath();
      g.roundRect(right - width - 2 * gap - 2, y - 7, width + 2 * gap - 2, 14, 3);
      g.fill();
      g.fillStyle = c.text;
      g.fillText(text, right - width - gap - 3, y);
    }
  }

  /**
   * Returns where an event is drawn, in pixels.
   * @param {number} e
   */
  event(e) {
    const at = this.s.eventOffset?.[e] ?? 0;
    const from = this.x(at);
    return [from, Math.max(this.x(at + (this.s.eventLength?.[e] ?? 0)), from + bar.least)];
  }

  /**
   * Says what is drawn at a place of a row.
   * @param {number} i
   * @param {number} x pixels from the left
   */
  tell(i, x) {
    const { s } = this;
    for (const e of this.events.of(i)) {
      const [from, to] = this.event(e);
      if (x >= from - near && x <= to + near) return `${s.names[s.eventName?.[e] ?? 0] || "unnamed event"} ${offset((s.eventOffset?.[e] ?? 0) - s.offset[i])}`;
    }
    return `${offset(s.offset[i])} to ${offset(s.offset[i] + s.length[i])}`;
  }
}
