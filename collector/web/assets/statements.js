// @ts-check
import { el, problem } from "./dom.js";
import { load } from "./refresh.js";
import { isFile } from "./source.js";

/**
 * Returns the statements of a trace: what the page of statements shows about it. A file has them
 * in a template.
 * @param {string} trace
 */
export function statements(trace) {
  const out = el("div", { class: "groups", tabindex: 0, role: "group", "aria-label": "Statements" }, el("p", { class: "none" }, "Loading …"));
  const address = new URL(`../?view=sql&trace=${trace}`, location.href);
  /** @param {ParentNode & Node} content */
  const show = (content) => {
    out.replaceChildren(...document.importNode(content, true).children);
    for (const a of out.querySelectorAll("a")) {
      if (isFile) a.replaceWith(...a.childNodes);
      else a.href = new URL(a.getAttribute("href") ?? "", address).href;
    }
  };
  const kept = /** @type {HTMLTemplateElement | null} */ (document.getElementById("statements"));
  if (kept) show(kept.content);
  else {
    load(address.href).then((page) => show(/** @type {HTMLElement} */ (page.getElementById("results"))))
      .catch((e) => out.replaceChildren(problem(`The statements cannot be loaded: ${e.message}`)));
  }
  return out;
}
