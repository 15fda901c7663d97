// @ts-check
import { ago, exact } from "./format.js";

/** Formats all times for the reader's clock and time zone. The title has UTC, too. */
export function tell() {
  const now = new Date();
  for (const t of document.querySelectorAll("time")) {
    const then = new Date(t.dateTime);
    const text = ago(then, now);
    if (t.textContent !== text) t.textContent = text;
    t.title = `${exact(then)}\n${then.toISOString()}`;
  }
}

/**
 * Loads a page and parses it.
 * @param {string} address
 * @returns {Promise<Document>}
 */
export function load(address) {
  return new Promise((resolve, reject) => {
    const r = new XMLHttpRequest(); // unlike DOMParser it needs no HTML string
    r.open("GET", address);
    r.responseType = "document";
    r.timeout = 10_000;
    r.onload = () => (r.status === 200 && r.response ? resolve(r.response) : reject(new Error(`status ${r.status}`)));
    r.onerror = r.ontimeout = () => reject(new Error("no answer"));
    r.send();
  });
}

/** Loads this page again. */
export const again = () => load(location.href);

/** @type {Map<string, string>} what was fetched last, by the id of the element */
const fetched = new Map();

/**
 * Reports whether a fetched element differs from the one fetched before. What is on the page
 * differs anyway, because its times are told.
 * @param {Element} want
 */
export function isNew(want) {
  const html = want.innerHTML;
  const before = fetched.get(want.id);
  fetched.set(want.id, html);
  return html !== before;
}

/** Whether the reader has selected text in an element. */
export function selecting(/** @type {Element} */ e) {
  const selection = getSelection();
  return selection !== null && !selection.isCollapsed && e.contains(selection.anchorNode);
}

/**
 * Replaces the content of an element. The focus, the scroll position of the map and the details that are
 * open stay.
 * @param {Element} have
 * @param {Element} want
 */
export function replace(have, want) {
  const left = have.querySelector(".map")?.scrollLeft ?? 0;
  const active = have.contains(document.activeElement) ? document.activeElement : null;
  const href = active?.getAttribute("href");
  const id = active?.id;
  /** @type {NodeListOf<HTMLDetailsElement>} */
  const details = have.querySelectorAll("details[id]");
  const open = new Map([...details].map((d) => [d.id, d.open]));
  have.replaceChildren(...want.childNodes);
  for (const d of /** @type {NodeListOf<HTMLDetailsElement>} */ (have.querySelectorAll("details[id]"))) d.open = open.get(d.id) ?? d.open;
  const map = /** @type {HTMLElement | null} */ (have.querySelector(".map"));
  if (map) map.scrollLeft = left;
  if (href) /** @type {HTMLElement | null} */ (have.querySelector(`a[href="${CSS.escape(href)}"]`))?.focus();
  else if (id) document.getElementById(id)?.focus();
  else if (active) map?.focus();
}
