// @ts-check

/**
 * Formats nanoseconds with three digits, like format.go.
 * @param {number} ns
 * @returns {string}
 */
export function duration(ns) {
  if (ns < 1e3) return `${ns} ns`;
  if (ns < 999.5e3) return `${threeDigits(ns / 1e3)} µs`;
  if (ns < 999.5e6) return `${threeDigits(ns / 1e6)} ms`;
  if (ns < 59.95e9) return `${threeDigits(ns / 1e9)} s`;
  const s = Math.round(ns / 1e9);
  if (s < 3600) return `${Math.floor(s / 60)}m ${two(s % 60)}s`;
  return `${Math.floor(s / 3600)}h ${two(Math.floor(s / 60) % 60)}m`;
}

/** @param {number} x */
function threeDigits(x) {
  return x.toFixed(x < 9.995 ? 2 : x < 99.95 ? 1 : 0);
}

/** @param {number} n */
function two(n) {
  return String(n).padStart(2, "0");
}

/**
 * Formats an offset from the start of something.
 * @param {number} ns
 */
export function offset(ns) {
  if (ns === 0) return "0";
  return ns < 0 ? `−${duration(-ns)}` : `+${duration(ns)}`;
}

/**
 * Formats a time relative to now.
 * @param {Date} then
 * @param {Date} now
 */
export function ago(then, now) {
  const s = Math.round((now.getTime() - then.getTime()) / 1000);
  if (s < 0) return clock(then);
  if (s < 2) return "just now";
  if (s < 60) return `${s} s ago`;
  if (s < 3600) return `${Math.floor(s / 60)} min ago`;
  if (s < 24 * 3600) return `${Math.floor(s / 3600)} h ago`;
  const year = then.getFullYear() === now.getFullYear() ? undefined : "numeric";
  return then.toLocaleDateString(undefined, { year, month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" });
}

/**
 * Formats a time of day with milliseconds.
 * @param {Date} t
 */
function clock(t) {
  return `${two(t.getHours())}:${two(t.getMinutes())}:${two(t.getSeconds())}.${String(t.getMilliseconds()).padStart(3, "0")}`;
}

/**
 * Formats a date and time in the reader's time zone.
 * @param {Date} t
 */
export function exact(t) {
  return `${t.toLocaleDateString(undefined, { year: "numeric", month: "short", day: "numeric" })}, ${clock(t)} ${
    t.toLocaleTimeString("en", { timeZoneName: "short" }).split(" ").pop()}`;
}
