// @ts-check

/** @typedef {import("./columns.js").Skeleton} Skeleton */
/** @typedef {import("./detail.js").Detail} Detail */
/** @typedef {{spanId: string, offset: number, duration: number, name: string, attributes: import("./detail.js").Attribute[]}} LogEvent */

/**
 * What the script of the page of a trace asks for.
 * @typedef {object} Source
 * @property {() => Promise<Skeleton>} rows
 * @property {(id: string) => Promise<Detail[]>} spans the spans with an id
 * @property {(id: string) => Promise<import("./detail.js").Linked>} linkedBy the spans whose links point at a span
 * @property {(query: string) => Promise<string[]>} match the ids of spans with a text, or that a query matches
 * @property {() => Promise<{events: LogEvent[], more: number}>} events the events of all spans, ordered by time
 * @property {() => Promise<number>} size how many spans there are now
 */

/** The details of all spans, if this page is a file. */
const data = document.getElementById("spans");

/** Whether this page is a file, so that it has no other pages to lead to. */
export const isFile = data !== null;

/**
 * Returns where the page of a trace gets its data from.
 * @param {string} trace the id
 * @returns {Source}
 */
export function sourceOf(trace) {
  if (!data) return collector(`../api/dendro/traces/${trace}`);
  return file(JSON.parse(data.textContent ?? ""), JSON.parse(document.getElementById("rows")?.textContent ?? ""));
}

/**
 * Loads JSON. It throws the error message of the server.
 * @param {string} url
 */
async function get(url) {
  const r = await fetch(url, { headers: { Accept: "application/json" } });
  if (!r.ok) throw new Error((await r.text()).trim() || `status ${r.status}`);
  return r.json();
}

/**
 * @param {string} api the address of the trace
 * @returns {Source}
 */
function collector(api) {
  const rows = /** @type {HTMLLinkElement} */ (document.querySelector('link[rel="preload"]')).href; // the page has begun to load it
  return {
    rows: () => get(rows),
    spans: async (id) => (await get(`${api}/spans/${id}`)).spans,
    linkedBy: (id) => get(`${api}/spans/${id}/links`),
    match: async (query) => (await get(`${api}/match?q=${encodeURIComponent(query)}`)).spans,
    events: () => get(`${api}/events${new URL(rows).search}`), // of the same time and clocks
    size: async () => (await get(`${api}/size`)).spans,
  };
}

/**
 * @param {Detail[]} all
 * @param {Skeleton} rows
 * @returns {Source}
 */
function file(all, rows) {
  const maxEvents = 5000; // as in events.go
  const maxLinkedBy = 20; // as in links.go
  const unsearched = new Set(["type", "kind", "status", "start", "parentId", "traceState", "resource", "version"]); // as in match.go
  /** @param {unknown} v @param {string} text @returns {boolean} */
  const has = (v, text) => (typeof v === "string" ? v.toLowerCase().includes(text) : typeof v === "object" && v !== null && Object.entries(v).some(([name, of]) => !unsearched.has(name) && has(of, text)));
  return {
    rows: async () => rows,
    spans: async (id) => all.filter((d) => d.spanId === id),
    linkedBy: async (id) => {
      const linked = all.filter((d) => d.links.some((l) => l.traceId === d.traceId && l.spanId === id));
      return { linkedBy: linked.slice(0, maxLinkedBy), more: linked.length > maxLinkedBy };
    },
    match: async (query) => {
      if (query.startsWith("{")) throw new Error("a file can only be searched for a text");
      return all.filter((d) => has(d, query.toLowerCase())).map((d) => d.spanId);
    },
    events: async () => {
      const starts = new Map(rows.id.map((id, i) => [id, rows.offset[i]])); // which may be straightened
      const events = all.flatMap((d) => d.events.map((e) => ({ ...e, spanId: d.spanId, offset: (starts.get(d.spanId) ?? 0) + e.offset })));
      events.sort((a, b) => a.offset - b.offset);
      return { events: events.slice(0, maxEvents), more: Math.max(0, events.length - maxEvents) };
    },
    size: async () => 0,
  };
}
