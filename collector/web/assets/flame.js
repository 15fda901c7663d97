// @ts-check
import { el } from "./dom.js";
import { duration } from "./format.js";

/** @typedef {import("./columns.js").Skeleton} Skeleton */

/**
 * Spans of one service and name below the same such spans. Times are nanoseconds.
 * @typedef {{service: number, name: number, above: Frame | null, below: Map<string, Frame>, spans: number, self: number, total: number, longest: number, row: number}} Frame
 */

const rowHeight = 22; // pixels, as in app.css
const deepest = 300; // levels that are drawn
const narrowest = 0.15; // percent: narrower frames are left out

/**
 * Merges the spans of a trace into frames by their path from the root. The total of a frame
 * is its own self time and that of all below it.
 * @param {Skeleton} s
 * @returns {Frame}
 */
function framesOf(s) {
  /** @type {(service: number, name: number, above: Frame | null) => Frame} */
  const frame = (service, name, above) => ({ service, name, above, below: new Map(), spans: 0, self: 0, total: 0, longest: -1, row: -1 });
  const root = frame(-1, -1, null);
  const all = [root];
  const folds = new Set(s.foldRow ?? []);
  /** @type {Frame[]} */
  const of = [];
  for (let i = 0; i < s.id.length; i++) {
    const above = s.parent[i] < 0 ? root : of[s.parent[i]];
    if (folds.has(i)) {
      of[i] = above;
      continue;
    }
    const key = `${s.service[i]} ${s.name[i]}`;
    let f = above.below.get(key);
    if (!f) {
      f = frame(s.service[i], s.name[i], above);
      above.below.set(key, f);
      all.push(f);
    }
    of[i] = f;
    f.spans++;
    f.self += s.self[i];
    if (s.length[i] > f.longest) [f.longest, f.row] = [s.length[i], i];
  }
  for (const f of all.reverse()) {
    f.total += f.self;
    if (f.above) f.above.total += f.total;
  }
  return root;
}

/**
 * Returns a flame graph of a trace, the root at the top. A click makes a frame as wide as the
 * graph.
 * @param {Skeleton} s
 * @param {(row: number) => void} select shows the longest span of a frame
 */
export function flame(s, select) {
  const root = framesOf(s);
  const total = Math.max(1, root.total);
  const graph = el("div", { class: "frames" });
  const about = el("p", { class: "about", "aria-live": "polite" });
  /** @param {Frame} f */
  const nameOf = (f) => (f === root ? "all spans" : s.names[f.name] || "unnamed span");

  /** @param {Frame} top */
  const draw = (top) => {
    /** @type {HTMLElement[]} */
    const out = [];
    /** @param {Frame} f @param {number} left @param {number} width percent @param {number} depth */
    const add = (f, left, width, depth) => {
      const service = f.service < 0 ? null : s.services[f.service];
      const text = `${nameOf(f)}: ${duration(f.total)}, ${((100 * f.total) / total).toFixed(1)} % of the self time of all spans`;
      const frame = el("button", {
        type: "button", class: `frame${service ? ` c${service.colour}` : ""}`,
        title: text, "aria-label": text, click: () => draw(f), focus: () => tell(f), mouseenter: () => tell(f),
      }, el("span", {}, nameOf(f)));
      frame.style.left = `${left}%`;
      frame.style.width = `${width}%`;
      frame.style.top = `${depth * rowHeight}px`;
      out.push(frame);
    };
    const path = [];
    for (let f = top.above; f && path.length < deepest; f = f.above) path.push(f);
    path.reverse();
    for (const [depth, f] of path.entries()) add(f, 0, 100, depth);
    /** @type {[Frame, number, number, number][]} */
    const stack = [[top, 0, 100, path.length]];
    let levels = path.length;
    for (let at = stack.pop(); at; at = stack.pop()) {
      const [f, left, width, depth] = at;
      add(f, left, width, depth);
      levels = Math.max(levels, depth);
      if (depth >= path.length + deepest) continue;
      let x = left;
      const below = [...f.below.values()].sort((a, b) => b.total - a.total);
      for (const b of below) {
        const share = f.total > 0 ? (width * b.total) / f.total : 0;
        if (share >= narrowest) stack.push([b, x, share, depth + 1]);
        x += share;
      }
    }
    graph.style.height = `${(levels + 1) * rowHeight}px`;
    graph.replaceChildren(...out);
    tell(top);
  };

  /** @param {Frame} f */
  const tell = (f) => {
    const service = f.service < 0 ? "" : s.services[f.service].name;
    const count = f.spans > 0 ? `${f.spans} ${f.spans === 1 ? "span" : "spans"} · ` : "";
    about.replaceChildren(el("b", {}, nameOf(f)), service ? ` of ${service}` : "",
      ` · ${count}${duration(f.total)} with all below, ${duration(f.self)} itself `,
      f.row >= 0 ? el("button", { type: "button", class: "link", click: () => select(f.row) }, "show the longest") : "");
  };
  draw(root);
  return el("div", { class: "flame", tabindex: 0, role: "group", "aria-label": "Flame graph by self time" }, about, graph);
}
