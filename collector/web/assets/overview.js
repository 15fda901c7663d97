// @ts-check
import { brush, brushing } from "./brush.js";
import { again, tell } from "./refresh.js";

const period = 10_000; // milliseconds between two looks
const bucketsPerRow = 2; // as in overview.go
const bucketsPerOctave = 8;

/** @param {number} row number of a row of the heatmap, from the bottom */
function longest(row) {
  return Math.round(2 ** (((row + 1) * bucketsPerRow - 1) / bucketsPerOctave));
}

/** Lets the reader drag over a part of the heatmap, to see its traces. */
function zoom() {
  const map = document.getElementById("heatmap");
  if (!map) return;
  const hint = document.getElementById("brush-hint");
  if (hint) hint.hidden = false;
  const { width, height } = /** @type {SVGSVGElement} */ (/** @type {unknown} */ (map)).viewBox.baseVal;
  const { start, step, low } = map.dataset;
  brush(map, ([x0, y0], [x1, y1]) => {
    const column = (/** @type {number} */ x) => Math.min(width - 1, Math.floor(x * width));
    const row = (/** @type {number} */ y) => Number(low) + height - 1 - Math.min(height - 1, Math.floor(y * height));
    location.search = String(new URLSearchParams({
      start: String(Number(start) + column(x0) * Number(step)),
      end: String(Number(start) + (column(x1) + 1) * Number(step) - 1),
      minDuration: `${longest(row(y1) - 1)}ns`,
      maxDuration: `${longest(row(y0))}ns`,
    }));
  });
}

async function look() {
  if (!document.hidden && !brushing) {
    try {
      const next = await again();
      for (const id of ["results", "strip"]) {
        const have = document.getElementById(id);
        const want = next.getElementById(id);
        if (!have || !want || brushing || have.contains(document.activeElement) || have.textContent === want.textContent) continue;
        have.replaceChildren(...want.childNodes);
        if (id === "results") zoom();
      }
      tell();
    } catch {
      // the next look may succeed
    }
  }
  setTimeout(look, period);
}

tell();
zoom();
setInterval(tell, 1000);
setTimeout(look, period);
document.body.dataset.ready = "true";
