// @ts-check
import { statusError } from "./columns.js";
import { el } from "./dom.js";
import { offset } from "./format.js";
import { palette } from "./timeline.js";

/** @typedef {import("./columns.js").Skeleton} Skeleton */
/** @typedef {import("./timeline.js").Range} Range */

const rowsOfLine = 48; // that are drawn on one line of pixels
const edge = 6; // pixels in which a drag moves an edge of the window
const click = 4; // pixels that the pointer may move in a click

/** The whole trace in a few pixels, with a window that shows what the timeline shows. */
export class Minimap {
  /**
   * @param {Skeleton} s
   * @param {(range: Range) => void} show
   */
  constructor(s, show) {
    this.s = s;
    this.show = show;
    this.canvas = el("canvas");
    this.window = el("div", { class: "window" });
    this.element = el("div", {
      class: "minimap", title: "Drag to zoom, double-click to see all",
      pointerdown: (e) => this.down(e), pointermove: (e) => this.move(e), pointerup: (e) => this.up(e),
      pointercancel: () => (this.drag = null), mousedown: (e) => e.preventDefault(), // the tree keeps the focus
      dblclick: () => show({ from: 0, to: s.duration }),
    }, this.canvas, this.window);
    /** @type {Range} */
    this.range = { from: 0, to: s.duration };
    /** @type {{what: "from" | "to" | "both" | "new", at: number, range: Range, moved: boolean} | null} */
    this.drag = null;
  }

  /** Draws all rows. */
  draw() {
    const { s } = this;
    const canvas = /** @type {HTMLCanvasElement} */ (this.canvas);
    const dots = devicePixelRatio || 1;
    const [width, height] = [Math.round(canvas.clientWidth * dots), Math.round(canvas.clientHeight * dots)];
    if (width < 1 || height < 1) return;
    [canvas.width, canvas.height] = [width, height];
    const g = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    const colours = palette(this.element);
    const total = s.id.length;
    const tall = Math.max(1, Math.min(8 * dots, height / total - dots / 2));
    /** @param {number} i @param {number} least */
    const line = (i, least) => {
      const from = (s.offset[i] / Math.max(1, s.duration)) * width;
      const to = ((s.offset[i] + s.length[i]) / Math.max(1, s.duration)) * width;
      g.fillRect(from, Math.floor((i / total) * height), Math.max(least, to - from), tall);
    };
    const step = Math.max(1, Math.ceil(total / (height * rowsOfLine)));
    for (let i = 0; i < total; i += step) {
      if (s.service[i] < 0) continue;
      g.fillStyle = colours.services[s.services[s.service[i]].colour];
      line(i, dots);
    }
    g.fillStyle = colours.error;
    for (let i = s.status.indexOf(statusError), n = 0; i >= 0 && n < height * rowsOfLine; i = s.status.indexOf(statusError, i + 1), n++) line(i, 2 * dots);
  }

  /** @param {Range} range */
  set(range) {
    this.range = range;
    const all = Math.max(1, this.s.duration);
    const whole = range.from <= 0 && range.to >= this.s.duration;
    this.element.classList.toggle("whole", whole);
    this.window.style.left = `${(100 * range.from) / all}%`;
    this.window.style.width = `${(100 * (range.to - range.from)) / all}%`;
    this.window.title = whole ? "" : `${offset(range.from)} to ${offset(range.to)}`;
  }

  /**
   * Returns the time at which the pointer is.
   * @param {PointerEvent} e
   */
  at(e) {
    const r = this.element.getBoundingClientRect();
    return Math.max(0, Math.min(1, (e.clientX - r.left) / r.width)) * this.s.duration;
  }

  /**
   * Returns what a drag from there changes.
   * @param {PointerEvent} e
   * @returns {"from" | "to" | "both" | "new"}
   */
  target(e) {
    const r = this.element.getBoundingClientRect();
    const x = e.clientX - r.left;
    const [from, to] = [this.range.from, this.range.to].map((ns) => (ns / Math.max(1, this.s.duration)) * r.width);
    if (this.element.classList.contains("whole")) return "new";
    if (Math.abs(x - from) <= edge) return "from";
    if (Math.abs(x - to) <= edge) return "to";
    return x > from && x < to ? "both" : "new";
  }

  /** @param {PointerEvent} e */
  down(e) {
    if (e.button !== 0) return;
    this.drag = { what: this.target(e), at: this.at(e), range: this.range, moved: false };
    this.element.setPointerCapture(e.pointerId);
  }

  /** @param {PointerEvent} e */
  move(e) {
    const d = this.drag;
    if (!d) {
      this.element.dataset.target = this.target(e);
      return;
    }
    const r = this.element.getBoundingClientRect();
    const at = this.at(e);
    d.moved ||= Math.abs(at - d.at) * r.width > click * this.s.duration;
    if (!d.moved) return;
    const { from, to } = d.range;
    const all = this.s.duration;
    if (d.what === "new") this.show({ from: Math.min(at, d.at), to: Math.max(at, d.at) });
    else if (d.what === "from") this.show({ from: Math.min(at, to), to: Math.max(at, to) });
    else if (d.what === "to") this.show({ from: Math.min(at, from), to: Math.max(at, from) });
    else {
      const by = Math.max(-from, Math.min(all - to, at - d.at));
      this.show({ from: from + by, to: to + by });
    }
  }

  /** @param {PointerEvent} e */
  up(e) {
    const d = this.drag;
    this.drag = null;
    if (!d || d.moved || d.what !== "new" || this.element.classList.contains("whole")) return;
    const half = (this.range.to - this.range.from) / 2; // a click moves the window there
    const middle = Math.max(half, Math.min(this.s.duration - half, this.at(e)));
    this.show({ from: middle - half, to: middle + half });
  }
}
