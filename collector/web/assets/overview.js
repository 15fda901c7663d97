// @ts-check
import { brush, brushing } from "./brush.js";
import { keys } from "./keys.js";
import { again, isNew, replace, selecting, tell } from "./refresh.js";
import { themeSwitch } from "./theme.js";

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
  const { start, step, low, kinds } = map.dataset;
  brush(map, ([x0, y0], [x1, y1]) => {
    const column = (/** @type {number} */ x) => Math.min(width - 1, Math.floor(x * width));
    const row = (/** @type {number} */ y) => Number(low) + height - 1 - Math.min(height - 1, Math.floor(y * height));
    const from = Number(start) + column(x0) * Number(step);
    const most = Math.min(longest(row(y0)), 2 ** 62);
    const conditions = [kinds && `(${kinds})`, `duration >= ${longest(row(y1) - 1)}ns`, `duration <= ${most}ns`];
    location.search = String(new URLSearchParams({
      q: `{ ${conditions.filter(Boolean).join(" && ")} }`,
      start: String(Math.max(0, Math.floor(from - most / 1e9))), // cells are about ends
      end: String(from + (column(x1) - column(x0) + 1) * Number(step) - 1),
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
        if (!have || !want || brushing || selecting(have)) continue;
        if (!isNew(want)) continue;
        replace(have, want);
        if (id === "results") zoom();
        else themeSwitch();
      }
      tell();
    } catch {
      // the next look may succeed
    }
  }
  setTimeout(look, period);
}

themeSwitch();
keys([]);
tell();
zoom();
setInterval(tell, 1000);
if (!document.querySelector(".imported")) setTimeout(look, period);
document.body.dataset.ready = "true";
