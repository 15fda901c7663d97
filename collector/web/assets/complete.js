// @ts-check
import { el } from "./dom.js";
import { forget, remember, used } from "./history.js";

const most = 12; // suggestions
const fresh = 10_000; // milliseconds for which an answer is used again
const longest = 1000; // characters of a query that are looked at
const functions = ["rate()", "count_over_time()", "avg_over_time(", "quantile_over_time(", "histogram_over_time(", "select(", "by(", "count()", "avg(", "max(", "min(", "sum("];

/** @type {Map<string, {at: number, answer: Promise<any>}>} */
const asked = new Map();

/**
 * Loads JSON, or returns what was loaded a moment ago.
 * @param {string} url
 */
function get(url) {
  const before = asked.get(url);
  if (before && Date.now() - before.at < fresh) return before.answer;
  const answer = fetch(url, { headers: { Accept: "application/json" } }).then((r) => (r.ok ? r.json() : {})).catch(() => ({}));
  asked.set(url, { at: Date.now(), answer });
  return answer;
}

/** @param {string} key */
const plain = (key) => (/^[A-Za-z_][\w.\-/]*$/.test(key) ? key : JSON.stringify(key));

/**
 * Returns the names of all fields: attributes with their scopes, and intrinsics.
 * @returns {Promise<string[]>}
 */
async function fields() {
  const { scopes = [] } = await get("api/v2/search/tags");
  return scopes.flatMap((/** @type {{name: string, tags: string[]}} */ s) => s.tags.map((tag) => (s.name === "intrinsic" ? tag : `${s.name}.${plain(tag)}`)));
}

/**
 * Returns literals for the values of a field.
 * @param {string} field
 * @param {boolean} pattern for a regular expression
 * @returns {Promise<string[]>}
 */
async function values(field, pattern) {
  const { tagValues = [] } = await get(`api/v2/search/tag/${encodeURIComponent(field)}/values?limit=200`);
  const escaped = (/** @type {string} */ text) => (pattern ? text.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&") : text);
  return tagValues.flatMap((/** @type {{type: string, value: string}} */ v) => {
    if (v.type === "string" || pattern) return [JSON.stringify(escaped(v.value))];
    return /^-?[\w.]+$/.test(v.value) && !/nan|inf/i.test(v.value) ? [v.value] : [];
  });
}

/**
 * Returns what may come at the end of the beginning of a query, and how long the part is that
 * it replaces.
 * @param {string} before
 * @returns {Promise<{replaces: number, list: string[]}>}
 */
async function suggest(before) {
  if (before.length > longest) return { replaces: 0, list: [] };
  const value = /([\w.:\-/]+|[\w.]*"[^"]*")\s*(=~|!~|!=|<=|>=|=|<|>)\s*("(?:[^"\\]|\\.)*|[\w.\-]*)$/.exec(before);
  if (value) {
    const part = value[3];
    const found = (await values(value[1], value[2].endsWith("~"))).filter((v) => v.toLowerCase().includes(part.replace(/^"/, "").toLowerCase()) && v !== part);
    return { replaces: part.length, list: found };
  }
  const quoted = (before.match(/(?<!\\)"/g) ?? []).length % 2 === 1;
  const part = /[\w.:\-/]*$/.exec(before)?.[0] ?? "";
  if (quoted || before.trim() === "") return { replaces: 0, list: before.trim() === "" ? ["{ "] : [] };
  const structure = before.replace(/"(?:[^"\\]|\\.)*"/g, '""');
  const open = (structure.match(/\{/g) ?? []).length > (structure.match(/\}/g) ?? []).length;
  const afterOperand = /["\w)}]\s+$/.test(before) && !/(&&|\|\||[=<>!~+\-*/({|])\s*$/.test(before);
  const compared = /[=<>~]\s*("(?:[^"\\]|\\.)*"|[\w.\-]+)\s+$/.test(before);
  if (afterOperand && !open) return { replaces: 0, list: ["| ", "&& ", ">> "] };
  if (afterOperand) return { replaces: 0, list: compared ? ["&& ", "|| ", "}"] : ["= ", "!= ", "=~ ", "> ", "< "] };
  if (!open) return { replaces: part.length, list: /\|\s*[\w]*$/.test(before) ? functions.filter((f) => f.startsWith(part)) : [] };
  const wanted = part.toLowerCase();
  const found = (await fields()).filter((f) => f.toLowerCase().includes(wanted) && f !== part);
  found.sort((a, b) => Number(b.toLowerCase().startsWith(wanted)) - Number(a.toLowerCase().startsWith(wanted)));
  return { replaces: part.length, list: found };
}

const clear = "Clear these queries";

/**
 * Suggests what may come next in a box for TraceQL (ARIA Authoring Practices, "Combobox"), and in an
 * empty one the queries that were used last. A query that the page could use is remembered.
 * @param {HTMLInputElement} box
 */
export function complete(box) {
  if (box.value.trim() && !document.querySelector(".problem")) remember(box.value.trim());
  const id = `suggestions-${box.name}`;
  const list = el("ul", { class: "suggestions", role: "listbox", id, "aria-label": "Suggestions" });
  list.hidden = true;
  box.after(list);
  for (const [name, value] of Object.entries({ role: "combobox", "aria-controls": id, "aria-autocomplete": "list", "aria-expanded": "false" })) box.setAttribute(name, value);
  let chosen = -1;
  let replaces = 0;
  let value = ""; // and caret: what the list was made for
  let caret = 0;
  let question = 0; // the latest, so that a late answer is not shown

  const hide = () => {
    question++;
    list.hidden = true;
    chosen = -1;
    box.setAttribute("aria-expanded", "false");
    box.removeAttribute("aria-activedescendant");
  };
  /** @param {number} n */
  const choose = (n) => {
    chosen = n;
    for (const [i, item] of [...list.children].entries()) item.setAttribute("aria-selected", String(i === n));
    if (n >= 0) {
      box.setAttribute("aria-activedescendant", `${id}-${n}`);
      list.children[n].scrollIntoView({ block: "nearest" });
    } else box.removeAttribute("aria-activedescendant");
  };
  /** @param {Element} item */
  const take = (item) => {
    if (item.className === "clear") forget();
    else box.setRangeText(item.textContent ?? "", caret - replaces, caret, "end");
    hide();
    box.focus();
    if (item.className !== "used") show();
  };
  /** @param {string} text @param {string} kind */
  const option = (text, kind) => el("li", {
    role: "option", "aria-selected": "false", class: kind,
    mousedown: (/** @type {MouseEvent} */ e) => {
      e.preventDefault(); // the box keeps the focus
      take(/** @type {Element} */ (e.currentTarget));
    },
  }, text);
  async function show() {
    hide();
    const mine = ++question;
    const [text, at] = [box.value, box.selectionStart ?? box.value.length];
    const found = await suggest(text.slice(0, at));
    if (mine !== question || document.activeElement !== box) return;
    [replaces, value, caret] = [found.replaces, text, at];
    const before = text.trim() ? [] : used();
    list.replaceChildren(...found.list.slice(0, most).map((text) => option(text, "next")), ...before.map((text) => option(text, "used")));
    if (before.length > 0) list.append(option(clear, "clear"));
    for (const [i, item] of [...list.children].entries()) item.id = `${id}-${i}`;
    chosen = -1;
    list.hidden = list.children.length === 0;
    box.setAttribute("aria-expanded", String(!list.hidden));
  }
  box.addEventListener("input", show);
  box.addEventListener("click", show);
  box.addEventListener("focus", () => {
    if (!box.value && used().length > 0) show();
  });
  box.addEventListener("blur", hide);
  box.addEventListener("keydown", (e) => {
    const n = list.children.length;
    if (!list.hidden && (box.value !== value || box.selectionStart !== caret)) hide();
    if (e.key === "ArrowDown" && list.hidden) show();
    else if (list.hidden) return;
    else if (e.key === "ArrowDown") choose((chosen + 1) % n);
    else if (e.key === "ArrowUp") choose(chosen <= 0 ? n - 1 : chosen - 1);
    else if (e.key === "Escape") hide();
    else if ((e.key === "Enter" || e.key === "Tab") && chosen >= 0) take(list.children[chosen]);
    else return;
    e.preventDefault();
  });
}
