// @ts-check
import { again, tell } from "./refresh.js";

const period = 10_000; // milliseconds between two looks
const bucketsPerRow = 2; // as in overview.go
const bucketsPerOctave = 8;

let pressed = false; // the heatmap is being brushed

/** @param {number} row number of a row of the heatmap */
function longest(row) {
  return Math.round(2 ** (((row + 1) * bucketsPerRow - 1) / bucketsPerOctave));
}

/** Lets the reader drag over a part of the heatmap, to see its traces. */
function brush() {
  const map = document.getElementById("heatmap");
  if (!map) return;
  const hint = document.getElementById("brush-hint");
  if (hint) hint.hidden = false;
  const view = /** @type {SVGSVGElement} */ (/** @type {unknown} */ (map)).viewBox.baseVal;
  const { start, step, low } = map.dataset;
  const box = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  box.setAttribute("class", "brush");
  let x0 = 0;
  let y0 = 0;
  /** @param {PointerEvent} e */
  const at = (e) => {
    const r = map.getBoundingClientRect();
    const clamp = (/** @type {number} */ v, /** @type {number} */ most) => Math.max(0, Math.min(most - 1, Math.floor(v)));
    return [clamp(((e.clientX - r.left) / r.width) * view.width, view.width), clamp(((e.clientY - r.top) / r.height) * view.height, view.height)];
  };
  /** @param {PointerEvent} e */
  const draw = (e) => {
    const [x, y] = at(e);
    box.setAttribute("x", String(Math.min(x, x0)));
    box.setAttribute("y", String(Math.min(y, y0)));
    box.setAttribute("width", String(Math.abs(x - x0) + 1));
    box.setAttribute("height", String(Math.abs(y - y0) + 1));
  };
  map.addEventListener("pointerdown", (e) => {
    pressed = true;
    map.setPointerCapture(e.pointerId);
    [x0, y0] = at(e);
    map.append(box);
    draw(e);
  });
  map.addEventListener("pointermove", (e) => pressed && draw(e));
  map.addEventListener("pointercancel", () => {
    pressed = false;
    box.remove();
  });
  map.addEventListener("pointerup", (e) => {
    if (!pressed) return;
    pressed = false;
    const [x, y] = at(e);
    const row = (/** @type {number} */ y) => Number(low) + view.height - 1 - y;
    const to = new URLSearchParams({
      start: String(Number(start) + Math.min(x, x0) * Number(step)),
      end: String(Number(start) + (Math.max(x, x0) + 1) * Number(step) - 1),
      minDuration: `${longest(row(Math.max(y, y0)) - 1)}ns`,
      maxDuration: `${longest(row(Math.min(y, y0)))}ns`,
    });
    location.search = String(to);
  });
}

async function look() {
  if (!document.hidden && !pressed) {
    try {
      const next = await again();
      for (const id of ["results", "strip"]) {
        const have = document.getElementById(id);
        const want = next.getElementById(id);
        if (!have || !want || pressed || have.contains(document.activeElement) || have.textContent === want.textContent) continue;
        have.replaceChildren(...want.childNodes);
        if (id === "results") brush();
      }
      tell();
    } catch {
      // the next look may succeed
    }
  }
  setTimeout(look, period);
}

tell();
brush();
setInterval(tell, 1000);
setTimeout(look, period);
document.body.dataset.ready = "true";
