// @ts-check
import { el } from "./dom.js";

/** @typedef {import("./waterfall.js").Waterfall} Waterfall */

const pause = 200; // milliseconds without a key after which it looks

/**
 * Returns a box that searches among the spans of a trace.
 * @param {() => Waterfall} waterfall
 * @param {(query: string) => Promise<string[]>} match
 * @param {(query: string) => void} changed
 */
export function findBox(waterfall, match, changed) {
  const input = /** @type {HTMLInputElement} */ (el("input", {
    type: "search", "aria-label": "Find spans", placeholder: "Find spans: a text or { TraceQL }", autocomplete: "off", spellcheck: "false", maxlength: 1000,
  }));
  const count = el("output", { "aria-live": "polite" });
  const [before, after] = [el("button", { type: "button", class: "quiet", "aria-label": "Previous", title: "Previous (Shift+Enter, N)", click: () => waterfall().next(-1) }, "↑"),
    el("button", { type: "button", class: "quiet", "aria-label": "Next", title: "Next (Enter, n)", click: () => waterfall().next(1) }, "↓")];
  const element = el("div", { class: "name findbox" }, input, count, before, after);
  /** @param {string} text @param {number} [spans] @param {boolean} [wrong] */
  const say = (text, spans = 0, wrong = false) => {
    count.textContent = text;
    count.title = text;
    count.classList.toggle("lost", wrong);
    before.hidden = after.hidden = spans === 0;
  };

  let asked = 0; // the latest question, so that a late answer is not shown
  let timer = 0;
  const look = async () => {
    clearTimeout(timer);
    timer = 0;
    const question = ++asked;
    const query = input.value.trim();
    changed(query);
    if (query === "") {
      waterfall().find(null);
      say("");
      return;
    }
    try {
      const ids = new Set(await match(query));
      if (question !== asked) return;
      const w = waterfall();
      const rows = new Set(w.s.id.flatMap((id, i) => (ids.has(id) && w.s.service[i] >= 0 && !w.folds.has(i) ? [i] : [])));
      const spans = rows.size;
      for (const i of w.folds.keys()) { // a fold stands out with one of its spans
        for (let n = i + 1; n < i + w.s.size[i]; n++) if (rows.has(n)) rows.add(i);
      }
      w.find(spans > 0 ? rows : null);
      say(spans === 1 ? "1 span" : `${spans} spans`, spans);
    } catch (e) {
      if (question !== asked) return;
      waterfall().find(null);
      say(/** @type {Error} */ (e).message, 0, true);
    }
  };
  input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(look, pause);
  });
  input.addEventListener("keydown", async (e) => {
    if (e.key === "Enter") {
      if (timer) await look();
      waterfall().next(e.shiftKey ? -1 : 1);
    } else if (e.key === "Escape") {
      if (input.value === "") waterfall().focus();
      input.value = "";
      look();
    } else return;
    e.preventDefault();
    e.stopPropagation();
  });
  say("");
  return {
    element,
    /** @param {string} query */
    find(query) {
      if (query === input.value.trim()) return;
      input.value = query;
      look();
    },
    again: look,
  };
}
