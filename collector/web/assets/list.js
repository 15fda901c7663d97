// @ts-check
import { brush, brushing } from "./brush.js";
import { complete } from "./complete.js";
import { keys } from "./keys.js";
import { again, isNew, tell } from "./refresh.js";
import { themeSwitch } from "./theme.js";

const period = 2000; // milliseconds between two looks
const live = /** @type {HTMLButtonElement | null} */ (document.getElementById("live")); // an imported file has none
const remembered = "dendro.live";

/**
 * Changes the page to look like next. It keeps the elements that did not change, so
 * that focus, selection and scroll position stay.
 * @param {Document} next
 */
function update(next) {
  for (const id of ["about", "results", "strip"]) {
    const have = document.getElementById(id);
    const want = next.getElementById(id);
    if (!have || !want) continue;
    const body = have.querySelector("tbody");
    const rows = want.querySelector("tbody");
    if (body && rows) {
      merge(body, rows);
    } else if (!(id === "about" && (brushing || have.matches(":hover, :focus-within"))) && isNew(want)) {
      have.replaceChildren(...want.childNodes);
      if (id === "about") zoom();
      if (id === "strip") themeSwitch();
    }
  }
  tell();
}

/**
 * @param {HTMLTableSectionElement} body
 * @param {HTMLTableSectionElement} want
 */
function merge(body, want) {
  /** @type {Map<string | undefined, HTMLTableRowElement>} */
  const known = new Map();
  for (const row of body.rows) known.set(row.dataset.key, row);
  let at = body.firstElementChild;
  for (const row of [...want.rows]) {
    let keep = known.get(row.dataset.key);
    known.delete(row.dataset.key);
    if (!keep) {
      keep = document.importNode(row, true);
      keep.classList.add("new");
    } else {
      for (const [i, cell] of [...row.cells].entries()) {
        if (cell.className !== "when" && !keep.cells[i].isEqualNode(cell)) {
          const focused = keep.cells[i].contains(document.activeElement);
          keep.cells[i].replaceWith(document.importNode(cell, true));
          if (focused) keep.querySelector("a")?.focus();
        }
      }
    }
    if (keep === at) at = at.nextElementSibling;
    else body.insertBefore(keep, at);
  }
  for (const row of known.values()) row.remove();
}

/** Lets the reader drag over a part of the scatter, to see only its traces. */
function zoom() {
  const drawing = document.getElementById("scatter");
  if (!drawing) return;
  const { start, end, least, most } = drawing.dataset;
  const [t0, t1] = [Number(start) / 1e9, Number(end) / 1e9];
  brush(drawing, ([x0, y0], [x1, y1]) => {
    const to = new URLSearchParams(location.search);
    const took = (/** @type {number} */ y) => Math.round(10 ** (Number(most) - y * (Number(most) - Number(least))));
    to.set("start", String(Math.floor(t0 + x0 * (t1 - t0))));
    to.set("end", String(Math.floor(t0 + x1 * (t1 - t0))));
    if (took(y1) > 1) to.set("minDuration", `${took(y1)}ns`);
    else to.delete("minDuration");
    to.set("maxDuration", `${took(y0)}ns`);
    location.search = String(to);
  });
}

let timer = 0;
let looking = false;

/** Reloads at once, and repeatedly while live. */
async function look() {
  if (looking || !live) return;
  clearTimeout(timer);
  if (live.getAttribute("aria-checked") !== "true") return;
  if (!document.hidden) {
    looking = true;
    try {
      update(await again());
      live.classList.remove("lost");
      live.title = "The list follows new traces";
    } catch (e) {
      live.classList.add("lost");
      live.title = `Trying again: ${/** @type {Error} */ (e).message}`;
    }
    looking = false;
  }
  timer = setTimeout(look, period);
}

/** @param {boolean} on */
function turn(on) {
  live?.setAttribute("aria-checked", String(on));
  try {
    localStorage.setItem(remembered, String(on));
  } catch {
    // then it is not remembered
  }
  look();
}

function wasOn() {
  try {
    return localStorage.getItem(remembered) !== "false";
  } catch {
    return true;
  }
}

themeSwitch();
keys(live ? [["l", "live on, off", () => live.click()]] : []);
tell();
zoom();
complete(/** @type {HTMLInputElement} */ (document.querySelector("[name=q]")));
setInterval(tell, 1000);
if (live) {
  live.hidden = false;
  live.addEventListener("click", () => turn(live.getAttribute("aria-checked") !== "true"));
  document.addEventListener("visibilitychange", look);
  if (!document.querySelector(".problem")) turn(wasOn());
}
