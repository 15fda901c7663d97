// @ts-check
import { copy, el, problem } from "./dom.js";
import { detail, foldDetail, linkedBy } from "./detail.js";
import { findBox } from "./find.js";
import { flame } from "./flame.js";
import { exact } from "./format.js";
import { keys } from "./keys.js";
import { logs } from "./logs.js";
import { again } from "./refresh.js";
import { isFile, sourceOf } from "./source.js";
import { statements } from "./statements.js";
import { table } from "./table.js";
import { themeSwitch } from "./theme.js";
import { Waterfall } from "./waterfall.js";

/** @typedef {import("./columns.js").Skeleton} Skeleton */

const main = /** @type {HTMLElement} */ (document.getElementById("trace"));

/** Formats what the server has rendered for the reader, and makes its button work. */
function tellFacts() {
  for (const t of document.querySelectorAll("time")) t.textContent = exact(new Date(t.dateTime));
  const copyID = /** @type {HTMLElement} */ (document.getElementById("copy-id"));
  copyID.hidden = false;
  copyID.addEventListener("click", () => copy(copyID, main.dataset.trace ?? ""));
}

async function start() {
  themeSwitch();
  tellFacts();

  const source = sourceOf(main.dataset.trace ?? "");
  let skeleton = await source.rows();
  const panel = el("aside", { class: "detail", "aria-label": "Span", tabindex: "-1" });
  panel.hidden = true;
  /** @type {number} the row that the panel shows, or -1 */
  let opened = -1;
  let query = "";
  const find = findBox(() => waterfall, source.match, (q) => {
    query = q;
    remember();
  });
  const newWaterfall = () => new Waterfall(skeleton, { open, zoomed: rememberSoon }, find.element);
  let waterfall = newWaterfall();

  /** @typedef {{key: string, title: string, make: () => HTMLElement, element?: HTMLElement, tab?: HTMLElement}} View */
  /** @param {number} row */
  const show = (row) => {
    view(0);
    select(row);
  };
  /** @type {View[]} */
  const views = [
    { key: "", title: "Timeline", make: () => waterfall.element },
    { key: "flame", title: "Flame", make: () => flame(skeleton, show) },
    { key: "names", title: "By name", make: () => table(skeleton, show) },
    { key: "sql", title: "SQL", make: () => statements(skeleton.traceId) },
    { key: "logs", title: "Logs", make: () => logs(skeleton, source.events, show) },
  ];
  let viewed = 0;
  /** @param {number} n */
  function view(n) {
    viewed = n;
    const element = (views[n].element ??= views[n].make());
    main.replaceChildren(element, panel);
    for (const v of views) v.tab?.setAttribute("aria-pressed", String(v === views[n]));
    if (n > 0) element.focus({ preventScroll: true });
    else {
      waterfall.attached();
      waterfall.focus();
    }
    remember();
  }
  for (const [n, v] of views.entries()) v.tab = el("button", { type: "button", click: () => view(n) }, v.title);
  document.querySelector('.raw a[href*="view=sql"]')?.remove(); // there is a view of it
  document.querySelector(".raw")?.prepend(el("span", { class: "views", role: "group", "aria-label": "View" }, ...views.map((v) => v.tab ?? null)));

  /** Keeps in the address what the reader sees. */
  function remember() {
    if (following) return;
    const to = new URLSearchParams();
    if (viewed > 0) to.set("view", views[viewed].key);
    if (opened >= 0) to.set(waterfall.folds.has(opened) ? "fold" : "span", skeleton.id[opened]);
    if (!waterfall.whole) {
      to.set("from", String(Math.round(waterfall.range.from)));
      to.set("to", String(Math.round(waterfall.range.to)));
    }
    if (query !== "") to.set("q", query);
    history.replaceState(null, "", to.size > 0 ? `#${to}` : location.pathname + location.search);
  }

  let soon = 0;
  /** Keeps it when zooming has stopped: browsers refuse more than about ten changes of the address a second. */
  function rememberSoon() {
    clearTimeout(soon);
    if (!following) soon = setTimeout(remember, 150);
  }

  let following = false;
  /** Shows what the address asks for. */
  function follow() {
    following = true;
    const asked = new URLSearchParams(location.hash.slice(1));
    view(Math.max(0, views.findIndex((v) => v.key === asked.get("view"))));
    const [from, to] = [Number(asked.get("from") ?? NaN), Number(asked.get("to") ?? NaN)];
    waterfall.zoom(from < to && Number.isFinite(to - from) ? { from, to } : waterfall.all);
    find.find(asked.get("q") ?? "");
    const fold = asked.has("fold");
    const id = asked.get(fold ? "fold" : "span");
    const row = id ? rowOf(id, fold) : -1;
    if (row >= 0) select(row);
    else close();
    following = false;
  }

  /** @param {string} id @param {boolean} [fold] */
  function rowOf(id, fold = false) {
    return skeleton.id.findIndex((other, i) => other === id && waterfall.folds.has(i) === fold);
  }

  let question = 0; // the latest one, so that a late answer is not shown

  /** @param {number} row */
  async function open(row) {
    const asked = ++question;
    const s = skeleton; // which may grow meanwhile
    const fold = waterfall.folds.get(row);
    const name = waterfall.nameOf(row);
    opened = row;
    remember();
    panel.hidden = false;
    main.classList.add("open");
    const shut = el("button", { type: "button", class: "close", "aria-label": "Close details", click: () => { close(); waterfall.focus(); } }, "×");
    let content;
    try {
      content = s.service[row] < 0 ? [] : await source.spans(s.id[row]);
    } catch (e) {
      content = problem(/** @type {Error} */ (e).message);
    }
    if (asked !== question) return;
    if (!Array.isArray(content)) panel.replaceChildren(shut, content);
    else if (fold) panel.replaceChildren(shut, foldDetail(s, row, name, fold, content[0]));
    else panel.replaceChildren(shut, ...detail(s, row, content, (above) => select(rowOf(s.id[above]))));
    panel.scrollTop = 0;
    waterfall.reveal();
    if (fold || s.service[row] < 0) return;
    const linked = await source.linkedBy(s.id[row]).catch(() => null);
    if (asked === question && linked?.linkedBy.length) panel.append(linkedBy(linked, s.traceId));
  }

  function close() {
    if (panel.hidden) return false;
    question++;
    opened = -1;
    panel.hidden = true;
    main.classList.remove("open");
    remember();
    return true;
  }

  /** @param {number} row */
  function select(row) {
    waterfall.select(row);
    open(row);
  }

  /** Loads the trace again and shows it in the place of what is shown. */
  async function grow() {
    const page = await again();
    const grown = await source.rows();
    const shown = opened < 0 ? "" : skeleton.id[opened];
    const [fold, missing] = [waterfall.folds.has(opened), skeleton.service[opened] < 0];
    skeleton = grown;
    for (const part of [".title", ".facts", ".why"]) {
      const [have, want] = [document.querySelector(part), page.querySelector(part)];
      if (have && want) have.replaceWith(document.importNode(want, true));
    }
    tellFacts();
    const before = waterfall;
    const focused = before.tree === document.activeElement;
    waterfall = newWaterfall();
    waterfall.like(before);
    if (shown) opened = rowOf(shown, fold);
    if (missing && skeleton.service[opened] >= 0) open(opened); // it has arrived
    for (const v of views) v.element = undefined;
    const input = document.activeElement;
    views[viewed].element = views[viewed].make();
    main.replaceChildren(/** @type {HTMLElement} */ (views[viewed].element), panel);
    waterfall.attached();
    if (focused) waterfall.focus();
    else if (input instanceof HTMLElement && input.isConnected) input.focus({ preventScroll: true });
    if (query !== "") find.again();
  }

  keys([
    ["↑ ↓", "previous, next row"],
    ["→ ←", "open or go into, close or go out"],
    ["Home End", "first, last row"],
    ["Enter", "details of the span"],
    ["e", "next error"],
    ["/", "find spans", () => {
      if (viewed > 0) view(0);
      find.element.querySelector("input")?.focus();
    }],
    ["n N", "next, previous span that was found"],
    ["+ -", "zoom in, zoom out"],
    ["z 0", "zoom to the span, see all"],
    ["Shift+→ Shift+←", "later, earlier"],
    ["t", "next view", () => view((viewed + 1) % views.length)],
    ["Esc", "close the details", () => close() && waterfall.focus()],
  ]);
  document.addEventListener("submit", (e) => {
    const form = /** @type {HTMLFormElement} */ (e.target);
    if (form.id === "fetch") form.action = form.action.replace(/#.*|$/, location.hash); // which the page then has again
  });
  addEventListener("hashchange", follow);
  follow();
  if (!isFile) watch(() => skeleton, source.size, grow, "waiting" in main.dataset ? Date.now() : 0);
  main.dataset.ready = "true";
}

const young = 60_000; // milliseconds in which late spans are looked for

/**
 * Shows spans that arrive after the page was loaded, while the trace is new or was asked for just now. It looks less
 * and less often, because a large trace is expensive to load.
 * @param {() => Skeleton} shown
 * @param {() => Promise<number>} size
 * @param {() => Promise<void>} grow
 * @param {number} asked when processes were asked for it, in milliseconds since the Unix epoch
 * @param {number} [wait] milliseconds
 */
function watch(shown, size, grow, asked, wait = 1000) {
  setTimeout(async () => {
    const s = shown();
    const end = Number(BigInt(s.start) / 1_000_000n) + s.duration / 1e6;
    if (Date.now() - Math.max(end, asked) > young) return;
    try {
      if (!document.hidden && (await size()) > s.spans) {
        await grow();
        wait = 1000;
      }
    } catch {
      // it looks again
    }
    watch(shown, size, grow, asked, 2 * wait);
  }, wait);
}

start().catch((e) => main.replaceChildren(problem(e.message)));
