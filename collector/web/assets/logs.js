// @ts-check
import { el, problem, service } from "./dom.js";
import { offset } from "./format.js";

/** @typedef {import("./columns.js").Skeleton} Skeleton */
/** @typedef {import("./source.js").LogEvent} LogEvent */

/** Attributes that are shown as the text of an event. */
const texts = ["exception.message", "message", "log.message", "db.query.text"];
const longest = 300; // characters of a text

/**
 * Returns a table of the events of all spans, ordered by time.
 * @param {Skeleton} s
 * @param {() => Promise<{events: LogEvent[], more: number}>} load
 * @param {(row: number) => void} select shows the span of an event
 */
export function logs(s, load, select) {
  const out = el("div", { class: "groups logs", tabindex: 0, role: "group", "aria-label": "Events of all spans" }, el("p", { class: "none" }, "Loading …"));
  load().then(({ events, more }) => {
    if (events.length === 0) {
      out.replaceChildren(el("p", { class: "none" }, "No span of this trace has an event. Errors, panics, and what a program records with Span.AddEvent are events."));
      return;
    }
    const folds = new Set(s.foldRow ?? []);
    /** @type {Map<string, number>} the first row with an id */
    const rows = new Map();
    for (let i = s.id.length - 1; i >= 0; i--) if (!folds.has(i)) rows.set(s.id[i], i);
    out.replaceChildren(el("table", { class: "operations" },
      el("thead", {}, el("tr", {}, ...["Time", "Event", "Span"].map((t) => el("th", { scope: "col" }, t)))),
      el("tbody", {}, ...events.map((e) => {
        const row = rows.get(e.spanId) ?? 0;
        const of = s.services[s.service[row]];
        const failed = e.name === "exception";
        return el("tr", {},
          el("td", { class: "num" }, offset(e.offset)),
          el("td", { class: "what" }, el("b", failed ? { class: "bad" } : {}, e.name || "unnamed event"), " ", el("span", { class: "text" }, textOf(e))),
          el("td", { class: "of" }, of ? service(of) : "", " ",
            el("button", { type: "button", class: "link", click: () => select(row) }, s.names[s.name[row]] || "unnamed span")));
      }))), more > 0 && el("p", { class: "more" }, `${more} later events are not shown.`) || "");
  }).catch((e) => out.replaceChildren(problem(`The events cannot be loaded: ${e.message}`)));
  return out;
}

/**
 * Returns what an event says in one line.
 * @param {LogEvent} e
 */
function textOf(e) {
  const main = e.attributes.find((a) => texts.includes(a.key));
  const rest = e.attributes.filter((a) => a !== main && a.key !== "exception.stacktrace").map((a) => `${a.key}=${a.value}`);
  const text = [...(main ? [main.value] : []), ...rest].join(" ");
  return text.length > longest ? `${text.slice(0, longest)}…` : text;
}
