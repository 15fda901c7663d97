// @ts-check
import { again, tell } from "./refresh.js";

const period = 2000; // milliseconds between two looks
const live = /** @type {HTMLButtonElement} */ (document.getElementById("live"));
const remembered = "dendro.live";

/**
 * Changes the page to look like next. It keeps the elements that did not change, so
 * that focus, selection and scroll position stay.
 * @param {Document} next
 */
function update(next) {
  for (const id of ["results", "strip"]) {
    const have = document.getElementById(id);
    const want = next.getElementById(id);
    if (!have || !want) continue;
    const body = have.querySelector("tbody");
    const rows = want.querySelector("tbody");
    if (body && rows) {
      merge(body, rows);
    } else if (have.textContent !== want.textContent) {
      have.replaceChildren(...want.childNodes);
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

let timer = 0;
let looking = false;

/** Reloads at once, and repeatedly while live. */
async function look() {
  if (looking) return;
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
  live.setAttribute("aria-checked", String(on));
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

tell();
setInterval(tell, 1000);
live.hidden = false;
live.addEventListener("click", () => turn(live.getAttribute("aria-checked") !== "true"));
document.addEventListener("visibilitychange", look);
if (!document.querySelector(".problem")) turn(wasOn());
