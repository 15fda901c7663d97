// @ts-check
import { copyButton, el, service } from "./dom.js";
import { duration, exact, offset } from "./format.js";
import { errors, kinds } from "./columns.js";
import { isFile } from "./source.js";
import { framesOf } from "./stack.js";

/** @typedef {import("./columns.js").Skeleton} Skeleton */
/** @typedef {import("./columns.js").Fold} Fold */
/** @typedef {{key: string, type: string, value: string}} Attribute */
/**
 * A span, as returned by detail.go.
 * @typedef {object} Detail
 * @property {string} traceId
 * @property {string} spanId
 * @property {string} [parentId]
 * @property {boolean} remote
 * @property {string} name
 * @property {string} kind
 * @property {string} status
 * @property {string} [message]
 * @property {string} start
 * @property {number} duration
 * @property {string} [traceState]
 * @property {Attribute[]} attributes
 * @property {{name: string, offset: number, duration: number, attributes: Attribute[], droppedAttributes?: number}[]} events
 * @property {{traceId: string, spanId: string, attributes: Attribute[], droppedAttributes?: number}[]} links
 * @property {string} service
 * @property {Attribute[]} resource
 * @property {{name: string, version: string, attributes: Attribute[]}} scope
 * @property {number} [droppedAttributes]
 * @property {number} [droppedEvents]
 * @property {number} [droppedLinks]
 * @property {{spans: number, slower: number}} [rank]
 */
/**
 * Spans that link to another one, as returned by links.go. more is whether there are others.
 * @typedef {{linkedBy: {traceId: string, spanId: string, name: string, service: string, start: string}[], more: boolean}} Linked
 */

/** Attributes whose value gets lines of its own. */
const blocks = new Set(["db.query.text", "db.statement", "dendro.db.plan", "exception.stacktrace"]);

/**
 * Returns what the panel shows about a row.
 * @param {Skeleton} s
 * @param {number} row
 * @param {Detail[]} spans the spans with the id of the row, or none for a missing parent
 * @param {(row: number) => void} select
 * @returns {HTMLElement[]}
 */
export function detail(s, row, spans, select) {
  if (spans.length === 0) {
    return [
      el("h2", {}, "Parent span not received"),
      el("p", {}, "Its children name it as their parent, but the span itself has not arrived: it has not ended yet, was not sampled, or was lost on its way."),
      facts([["Span id", id(s.id[row])]]),
    ];
  }
  const out = spans.map((d) => one(s, row, d, select));
  if (spans.length > 1) out.unshift(el("p", { class: "problem" }, `${spans.length} spans have this id.`));
  return out;
}

/**
 * Returns what the panel shows about a fold.
 * @param {Skeleton} s
 * @param {number} row
 * @param {string} name
 * @param {Fold} fold
 * @param {Detail} first its first span
 */
export function foldDetail(s, row, name, fold, first) {
  const took = s.length.slice(row + 1, row + s.size[row]).sort((a, b) => a - b);
  const { colour } = s.services[s.service[row]];
  const text = first.attributes.filter((a) => blocks.has(a.key));
  return el("article", { class: `c${colour}` },
    el("h2", {}, name),
    el("p", { class: "line" },
      service({ name: first.service, colour }), " ",
      el("span", { class: "badge" }, kinds[s.kind[row]] ?? "internal"), " ",
      fold.errors > 0 && el("span", { class: "badge error" }, errors(fold.errors))),
    el("p", { class: "line" }, `The same ${fold.spans} times below one span. One query or call for all of them may be faster.`),
    facts([
      ["Spans", String(fold.spans)],
      ["Total", duration(fold.total)],
      ["Shortest", duration(took[0])],
      ["Median", duration(took[took.length >> 1])],
      ["Longest", duration(took[took.length - 1])],
      ["From, to", `${offset(s.offset[row])}, ${offset(s.offset[row] + s.length[row])}`],
      fold.caller && ["Called from", el("code", {}, fold.caller)],
    ]),
    section("Attributes", text.length, attributes(text)));
}

/**
 * @param {Skeleton} s
 * @param {number} row
 * @param {Detail} d
 * @param {(row: number) => void} select
 */
function one(s, row, d, select) {
  const { colour } = s.services[s.service[row]];
  const start = s.straight ? s.offset[row] : Number(BigInt(d.start) - BigInt(s.start));
  const above = s.parent[row];
  const parent = s.foldRow?.includes(above) ? s.parent[above] : above;
  const values = section("Attributes", d.attributes.length, attributes(d.attributes, "span"), d.droppedAttributes);
  const events = section("Events", d.events.length, el("ol", { class: "events" }, ...d.events.map((e) => el("li", {},
      el("h4", {}, el("span", { class: "at" }, offset(e.offset)), " ", el("b", {}, e.name || "unnamed event"), e.duration > 0 && ` for ${duration(e.duration)}`),
      e.attributes.length > 0 && attributes(e.attributes, "event"),
      dropped(e.droppedAttributes)))), d.droppedEvents);
  return el("article", { class: `c${colour}` },
    el("h2", {}, d.name || "unnamed span"),
    el("p", { class: "line" },
      service({ name: d.service, colour }), " ",
      el("span", { class: "badge" }, d.kind), " ",
      d.status !== "unset" && el("span", { class: `badge ${d.status}` }, d.status)),
    d.message ? el("pre", { class: "message" }, d.message) : null,
    facts([
      ["Duration", duration(d.duration)],
      ["Self time", duration(s.self[row])],
      d.rank && ["Compared", slower(d.rank)],
      ["Start", `${offset(start)}, at ${exact(new Date(Number(BigInt(d.start) / 1_000_000n)))}`],
      ["Span id", id(d.spanId)],
      ["Parent", parent >= 0
        ? el("button", { type: "button", class: "link", click: () => select(parent) }, s.names[s.name[parent]] || "unnamed span")
        : d.parentId ? el("code", {}, d.parentId) : "none: the root"],
      d.remote && ["Called from", "another process"],
      d.traceState && ["Trace state", el("code", {}, d.traceState)],
    ]),
    ...(d.status === "error" ? [events, values] : [values, events]),
    section("Links", d.links.length, el("ol", { class: "events" }, ...d.links.map((l) => el("li", {},
      toSpan(l, d.traceId, l.traceId === d.traceId ? `span ${l.spanId} of this trace` : `trace ${l.traceId}`),
      l.attributes.length > 0 && attributes(l.attributes, "link"),
      dropped(l.droppedAttributes)))), d.droppedLinks),
    section("Resource", d.resource.length, attributes(d.resource, "resource")),
    section("Scope", d.scope.name ? 1 : 0, attributes([
      { key: "name", type: "string", value: d.scope.name },
      ...(d.scope.version ? [{ key: "version", type: "string", value: d.scope.version }] : []),
      ...d.scope.attributes,
    ])));
}

/**
 * Returns a link to a span.
 * @param {{traceId: string, spanId: string}} to
 * @param {string} trace the id of the trace on this page
 * @param {string} text
 */
function toSpan(to, trace, text) {
  if (to.traceId === trace) return el("a", { href: `#span=${to.spanId}` }, text);
  return isFile ? el("code", {}, text) : el("a", { href: `${to.traceId}#span=${to.spanId}` }, text);
}

/**
 * Returns the spans that link to a span.
 * @param {Linked} linked
 * @param {string} trace the id of the trace on this page
 */
export function linkedBy({ linkedBy: spans, more }, trace) {
  return el("section", {}, el("h3", {}, "Linked from"), el("ol", { class: "events" }, ...spans.map((l) => el("li", {},
    toSpan(l, trace, l.name || "unnamed span"),
    ` of ${l.service || "unnamed service"}${l.traceId === trace ? ", in this trace" : ""}`))),
    more && el("p", { class: "more" }, "More are not shown."));
}

/** @param {string} text */
function id(text) {
  return el("span", {}, el("code", {}, text), " ", copyButton(() => text));
}

/** @param {([string, string | HTMLElement] | false | "" | undefined)[]} pairs */
function facts(pairs) {
  return el("dl", { class: "pairs" }, ...pairs.flatMap((p) => (p ? [el("dt", {}, p[0]), el("dd", {}, p[1])] : [])));
}

/**
 * @param {string} title
 * @param {number} count
 * @param {HTMLElement} content
 * @param {number} [lost]
 */
function section(title, count, content, lost) {
  if (count === 0 && !lost) return null;
  return el("section", {}, el("h3", {}, title), count > 0 && content, dropped(lost));
}

/** @param {number} [n] */
function dropped(n) {
  return n ? el("p", { class: "lost" }, `${n} more were over the limit and are lost`) : null;
}

/**
 * Returns a key that may wrap after its dots and underscores.
 * @param {string} text
 */
function key(text) {
  return text.split(/(?<=[._])/).flatMap((part) => [part, el("wbr")]);
}

/**
 * Says how a span compares with others of its operation.
 * @param {{spans: number, slower: number}} rank
 */
function slower(rank) {
  const share = 100 * rank.slower;
  const percent = share > 99 ? share.toFixed(1) : share.toFixed(0);
  return `slower than ${percent} % of ${Math.round(rank.spans)} in the hour before`;
}

/**
 * Returns the query for spans with an attribute, or "" if there is none.
 * @param {string} scope
 * @param {Attribute} a
 */
function queryFor(scope, a) {
  const tooLong = 2000; // for a link
  if (a.key === "" || a.value.length > tooLong || a.value === "-9223372036854775808") return "";
  const value = a.type === "string" ? JSON.stringify(a.value) : ["int", "bool"].includes(a.type) ? a.value : "";
  return value === "" ? "" : `{ ${scope}.${JSON.stringify(a.key)} = ${value} }`;
}

/**
 * @param {Attribute[]} list
 * @param {string} [scope] of queries for the values
 */
function attributes(list, scope) {
  const find = (/** @type {Attribute} */ a) => {
    const query = scope && !isFile ? queryFor(scope, a) : "";
    return query !== "" && el("a", { class: "find", href: `../?q=${encodeURIComponent(query)}`, title: "Traces with this value" }, "find");
  };
  const block = (/** @type {Attribute} */ a) => blocks.has(a.key) || a.value.includes("\n");
  return el("div", { class: "attributes" },
    el("table", {}, el("tbody", {}, ...list.filter((a) => !block(a)).map((a) => el("tr", {},
      el("th", { scope: "row" }, ...key(a.key)),
      el("td", { class: a.type }, a.value === "" ? el("i", {}, "empty") : el("span", {}, a.value), " ", el("span", { class: "actions" }, find(a), copyButton(() => a.value))))))),
    ...list.filter(block).map((a) => el("figure", {},
      el("figcaption", {}, a.key, " ", copyButton(() => a.value), " ", find(a)),
      ...(a.key === "exception.stacktrace" ? stack(a.value) : [el("pre", { tabindex: 0 }, el("code", {}, a.value))]))));
}

/**
 * Returns the program's own calls of a stack trace, and all of it below them.
 * @param {string} text
 */
function stack(text) {
  const whole = el("pre", { tabindex: 0 }, el("code", {}, text));
  const frames = framesOf(text);
  const own = frames.filter((f) => f.own);
  if (own.length === 0) return [whole];
  return [
    el("ol", { class: "stack" }, ...own.map((f) => el("li", {}, el("code", {}, f.call), el("small", {}, f.place)))),
    el("details", {}, el("summary", {}, frames.length === 1 ? "The whole stack" : `The whole stack of ${frames.length} calls`), whole),
  ];
}
