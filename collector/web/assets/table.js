// @ts-check
import { el, service } from "./dom.js";
import { duration } from "./format.js";
import { errors, kinds, statusError } from "./columns.js";

/** @typedef {import("./columns.js").Skeleton} Skeleton */

/**
 * What the spans of one service, or of one service, name and kind, have together. Times are
 * nanoseconds.
 * @typedef {{service: number, name: number, kind: number, count: number, errors: number, total: number, self: number, critical: number, longest: number, row: number}} Group
 */

const most = 1000; // groups that are shown

const columns = /** @type {const} */ ([
  ["count", "Count"], ["errors", "Errors"], ["total", "Total"], ["self", "Self"], ["critical", "Critical path"], ["longest", "Longest"],
]);

/**
 * Groups the spans of a trace.
 * @param {Skeleton} s
 * @param {boolean} byService without name and kind
 * @returns {Group[]}
 */
function groupsOf(s, byService) {
  /** @type {Map<string, Group>} */
  const groups = new Map();
  const folds = new Set(s.foldRow ?? []);
  const critical = new Map();
  for (const [n, row] of (s.criticalRow ?? []).entries()) critical.set(row, (critical.get(row) ?? 0) + (s.criticalLength?.[n] ?? 0));
  for (let i = 0; i < s.id.length; i++) {
    if (s.service[i] < 0 || folds.has(i)) continue;
    const key = byService ? `${s.service[i]}` : `${s.service[i]} ${s.name[i]} ${s.kind[i]}`;
    let g = groups.get(key);
    if (!g) {
      g = { service: s.service[i], name: s.name[i], kind: s.kind[i], count: 0, errors: 0, total: 0, self: 0, critical: 0, longest: -1, row: i };
      groups.set(key, g);
    }
    g.count++;
    if (s.status[i] === statusError) g.errors++;
    g.total += s.length[i];
    g.self += s.self[i];
    g.critical += critical.get(i) ?? 0;
    if (s.length[i] > g.longest) [g.longest, g.row] = [s.length[i], i];
  }
  return [...groups.values()];
}

/**
 * Returns a table of the spans of a trace by service, name and kind, or by service alone.
 * @param {Skeleton} s
 * @param {(row: number) => void} select shows the longest span of a group
 */
export function table(s, select) {
  /** @type {Group[]} */
  let groups = [];
  let byService = false;
  /** @type {typeof columns[number][0]} */
  let ordered = "self";
  const body = el("tbody");
  /** @type {HTMLElement[]} */
  const heads = [];
  /** @param {typeof columns[number][0]} by */
  const order = (by) => {
    ordered = by;
    groups.sort((a, b) => b[by] - a[by] || b.total - a.total);
    for (const [i, [key]] of columns.entries()) heads[i].setAttribute("aria-sort", key === by ? "descending" : "none");
    body.replaceChildren(...groups.slice(0, most).map((g) => el("tr", {},
      el("td", { class: "what" },
        service(s.services[g.service]), " ",
        ...(byService ? [] : [
          el("button", { type: "button", class: "link", title: "Show the longest one", click: () => select(g.row) }, s.names[g.name] || "unnamed span"), " ",
          el("span", { class: "badge" }, kinds[g.kind] ?? "internal")])),
      el("td", { class: "num" }, String(g.count)),
      el("td", { class: "num" }, g.errors > 0 && el("span", { class: "badge error" }, errors(g.errors))),
      ...[g.total, g.self, g.critical, g.longest].map((ns) => el("td", { class: "num" }, ns > 0 ? duration(ns) : "")))));
  };
  for (const [key, title] of columns) {
    heads.push(el("th", { scope: "col", class: "num" }, el("button", { type: "button", class: "quiet", click: () => order(key) }, title)));
  }
  const more = el("p", { class: "more" });
  const choices = ["name", "service"].map((by) => el("button", { type: "button", class: "quiet", click: () => choose(by === "service") }, by));
  /** @param {boolean} by */
  const choose = (by) => {
    byService = by;
    groups = groupsOf(s, byService);
    for (const [n, b] of choices.entries()) b.ariaPressed = String((n === 1) === byService);
    more.textContent = groups.length > most ? `${groups.length - most} more are not shown.` : "";
    order(ordered);
  };
  choose(false);
  return el("div", { class: "groups", tabindex: 0, role: "group", "aria-label": "Spans by name" },
    el("table", { class: "operations" },
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Spans by ", ...choices), ...heads)), body), more);
}
