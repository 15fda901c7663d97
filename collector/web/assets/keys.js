// @ts-check
import { el } from "./dom.js";

/**
 * Keys, what they do, and the action. With an action, "g o" is o after g. Without one, the keys are
 * only listed.
 * @typedef {[keys: string, what: string, action?: () => void]} Key
 */

const patience = 1500; // milliseconds between two keys that belong together
const dialog = /** @type {HTMLDialogElement} */ (el("dialog", { class: "help", "aria-label": "Keys" }));

/**
 * Listens to the keys of a page and to those that all pages have. The button "Keys" and the key ?
 * list them.
 * @param {Key[]} own
 */
export function keys(own) {
  document.body.append(dialog);
  document.body.dataset.keys = "true"; // shows the button
  document.addEventListener("click", (e) => {
    if (e.target instanceof Element && e.target.closest("#keys")) show(own);
  });
  let before = "";
  let at = 0;
  document.addEventListener("keydown", (e) => {
    if (e.defaultPrevented || e.ctrlKey || e.metaKey || e.altKey || dialog.open || isInput(e.target)) return;
    const key = e.key === "Escape" ? "Esc" : e.key;
    const both = e.timeStamp - at < patience ? `${before} ${key}` : key;
    const all = [...own, ...common(own)];
    const action = (all.find((k) => k[0] === both) ?? all.find((k) => k[0] === key))?.[2];
    [before, at] = [key, e.timeStamp];
    if (!action) return;
    e.preventDefault();
    action();
  });
}

/**
 * @param {Key[]} own
 * @returns {Key[]}
 */
function common(own) {
  const search = /** @type {HTMLInputElement | null} */ (document.querySelector("input[type=search], [name=q]"));
  const rows = /** @type {HTMLElement[]} */ ([...document.querySelectorAll("tbody .what a")]);
  const go = (/** @type {number} */ by) => {
    const from = rows.findIndex((a) => a === document.activeElement);
    rows[Math.max(0, Math.min(rows.length - 1, from + by))].focus();
  };
  /** @type {Key[]} */
  const out = [];
  if (rows.length > 0) out.push(["j", "next row", () => go(1)], ["k", "previous row", () => go(-1)]);
  if (search && !own.some((k) => k[0] === "/")) out.push(["/", "search", () => search.select()]);
  for (const a of /** @type {NodeListOf<HTMLAnchorElement>} */ (document.querySelectorAll(".pages a"))) {
    out.push([`g ${a.text[0].toLowerCase()}`, a.text, () => a.click()]);
  }
  out.push(["?", "this help", () => show(own)]);
  return out;
}

/** @param {Key[]} own */
function show(own) {
  dialog.replaceChildren(
    el("h2", {}, "Keys"),
    el("dl", {}, ...[...own, ...common(own)].flatMap(([keys, what, action]) => [
      el("dt", {}, ...keys.split(" ").flatMap((k, n) => [n > 0 && action ? "then" : null, el("kbd", {}, k)])),
      el("dd", {}, what),
    ])),
    el("form", { method: "dialog" }, el("button", {}, "Close")));
  dialog.showModal();
}

/** @param {EventTarget | null} e */
function isInput(e) {
  return e instanceof HTMLElement && (e.isContentEditable || e.matches("input:not([type=checkbox]), textarea, select"));
}
