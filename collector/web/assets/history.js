// @ts-check

const key = "dendro.queries";
const most = 20; // queries that are kept
const longest = 1000; // characters of one

/**
 * Returns the queries that were used last on this origin, the newest first.
 * @returns {string[]}
 */
export function used() {
  try {
    const list = JSON.parse(localStorage.getItem(key) ?? "[]");
    return Array.isArray(list) ? list.filter((q) => typeof q === "string" && q !== "" && q.length <= longest).slice(0, most) : [];
  } catch {
    return [];
  }
}

/**
 * Adds a query.
 * @param {string} query
 */
export function remember(query) {
  if (query.length > longest) return;
  try {
    localStorage.setItem(key, JSON.stringify([query, ...used().filter((q) => q !== query)].slice(0, most)));
  } catch {
    // then it is not remembered
  }
}

export function forget() {
  try {
    localStorage.removeItem(key);
  } catch {
    // then there are none
  }
}
