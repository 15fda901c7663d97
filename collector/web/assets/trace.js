// @ts-check
import { copy, el } from "./dom.js";
import { detail, foldDetail } from "./detail.js";
import { flame } from "./flame.js";
import { exact } from "./format.js";
import { table } from "./table.js";
import { themeSwitch } from "./theme.js";
import { Waterfall } from "./waterfall.js";

/** @typedef {import("./waterfall.js").Skeleton} Skeleton */

const main = /** @type {HTMLElement} */ (document.getElementById("trace"));
const api = `../api/dendro/traces/${main.dataset.trace}`;

/**
 * Loads JSON. It throws the error message of the server.
 * @param {string} url
 */
async function get(url) {
  const r = await fetch(url, { headers: { Accept: "application/json" } });
  if (!r.ok) throw new Error((await r.text()).trim() || `status ${r.status}`);
  return r.json();
}

/** @param {unknown} e */
function problem(e) {
  return el("p", { class: "problem", role: "alert" }, e instanceof Error ? e.message : String(e));
}

const help = el("dialog", { class: "help", "aria-label": "Keys" },
  el("h2", {}, "Keys"),
  el("dl", {}, ...[
    ["↑ ↓", "previous, next row"],
    ["→ ←", "open or go into, close or go out"],
    ["Home End", "first, last row"],
    ["Enter", "details of the span"],
    ["e", "next error"],
    ["t", "next view: timeline, flame graph, spans by name"],
    ["Esc", "close the details"],
    ["?", "this help"],
  ].flatMap(([keys, what]) => [el("dt", {}, ...keys.split(" ").map((k) => el("kbd", {}, k))), el("dd", {}, what)])),
  el("form", { method: "dialog" }, el("button", {}, "Close")));

async function start() {
  themeSwitch();
  for (const t of document.querySelectorAll("time")) {
    const then = new Date(t.dateTime);
    t.textContent = exact(then);
  }
  const copyID = /** @type {HTMLElement} */ (document.getElementById("copy-id"));
  copyID.hidden = false;
  copyID.addEventListener("click", () => copy(copyID, main.dataset.trace ?? ""));
  document.body.append(help);
  const keys = /** @type {HTMLElement} */ (document.getElementById("keys"));
  keys.hidden = false;
  const showHelp = () => /** @type {HTMLDialogElement} */ (help).showModal();
  keys.addEventListener("click", showHelp);

  const rows = /** @type {HTMLElement} */ (document.getElementById("rows"));
  /** @type {Skeleton} */
  const skeleton = JSON.parse(rows.textContent ?? "");
  rows.remove();
  const panel = el("aside", { class: "detail", "aria-label": "Span", tabindex: "-1" });
  panel.hidden = true;
  const waterfall = new Waterfall(skeleton, { open, close });
  /** @typedef {{key: string, title: string, make: () => HTMLElement, element?: HTMLElement, tab?: HTMLElement}} View */
  /** @param {number} row */
  const find = (row) => {
    view(0);
    select(row);
  };
  /** @type {View[]} */
  const views = [
    { key: "", title: "Timeline", make: () => waterfall.element },
    { key: "flame", title: "Flame", make: () => flame(skeleton, find) },
    { key: "names", title: "By name", make: () => table(skeleton, find) },
  ];
  let viewed = 0;
  /** @param {number} n */
  function view(n) {
    if (n !== viewed) history.replaceState(null, "", n > 0 ? `#view=${views[n].key}` : location.pathname + location.search);
    viewed = n;
    const element = (views[n].element ??= views[n].make());
    main.replaceChildren(element, panel);
    for (const v of views) v.tab?.setAttribute("aria-pressed", String(v === views[n]));
    if (n === 0) waterfall.render();
    element.focus({ preventScroll: true });
  }
  for (const [n, v] of views.entries()) v.tab = el("button", { type: "button", click: () => view(n) }, v.title);
  document.querySelector(".raw")?.prepend(el("span", { class: "views", role: "group", "aria-label": "View" }, ...views.map((v) => v.tab ?? null)));
  view(0);

  let asked = 0; // the latest question, so that a late answer is not shown

  /** @param {number} row */
  async function open(row) {
    const question = ++asked;
    const fold = waterfall.folds.get(row);
    history.replaceState(null, "", `#${fold ? "fold" : "span"}=${skeleton.id[row]}`);
    panel.hidden = false;
    main.classList.add("open");
    const shut = el("button", { type: "button", class: "close", "aria-label": "Close details", click: () => { close(); waterfall.focus(); } }, "×");
    let content;
    try {
      content = skeleton.service[row] < 0 ? [] : (await get(`${api}/spans/${skeleton.id[row]}`)).spans;
    } catch (e) {
      content = e;
    }
    if (question !== asked) return;
    if (!Array.isArray(content)) panel.replaceChildren(shut, problem(content));
    else if (fold) panel.replaceChildren(shut, foldDetail(skeleton, row, waterfall.nameOf(row), fold, content[0]));
    else panel.replaceChildren(shut, ...detail(skeleton, row, content, select));
    panel.scrollTop = 0;
    waterfall.reveal();
  }

  function close() {
    if (panel.hidden) return false;
    asked++;
    panel.hidden = true;
    main.classList.remove("open");
    history.replaceState(null, "", location.pathname + location.search);
    return true;
  }

  /** @param {number} row */
  function select(row) {
    waterfall.select(row);
    open(row);
  }

  function followHash() {
    const asked = new URLSearchParams(location.hash.slice(1));
    if (asked.size > 0) view(Math.max(0, views.findIndex((v) => v.key === asked.get("view"))));
    const fold = asked.has("fold");
    const id = asked.get(fold ? "fold" : "span");
    const row = skeleton.id.findIndex((other, i) => other === id && waterfall.folds.has(i) === fold);
    if (row >= 0) select(row);
  }

  document.addEventListener("keydown", (e) => {
    if (e.ctrlKey || e.metaKey || e.altKey || /** @type {HTMLDialogElement} */ (help).open) return;
    if (e.key === "?") showHelp();
    else if (e.key === "t") view((viewed + 1) % views.length);
    else if (e.key === "Escape" && close()) waterfall.focus();
    else return;
    e.preventDefault();
  });
  addEventListener("hashchange", followHash);
  waterfall.focus();
  followHash();
  watch(skeleton);
  main.dataset.ready = "true";
}

const young = 60_000; // milliseconds in which late spans are looked for

/**
 * Offers to show spans that arrive after the page was loaded, while the trace is new.
 * It checks less and less often.
 * @param {Skeleton} shown
 * @param {number} [wait] milliseconds
 */
function watch(shown, wait = 2000) {
  const end = Number(BigInt(shown.start) / 1_000_000n) + shown.duration / 1e6;
  setTimeout(async () => {
    if (Date.now() - end > young) return;
    const spans = document.hidden ? 0 : (await get(`${api}/size`).catch(() => shown)).spans;
    if (spans <= shown.spans) {
      watch(shown, 2 * wait);
      return;
    }
    const more = spans - shown.spans;
    document.querySelector(".facts dl")?.append(el("button", { type: "button", id: "more", click: () => location.reload() },
      `Show ${more} new ${more === 1 ? "span" : "spans"}`));
  }, wait);
}

start().catch((e) => main.replaceChildren(problem(e)));
