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
