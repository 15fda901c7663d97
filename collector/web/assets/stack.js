// @ts-check

/**
 * A call on a stack. own is whether it is the program's, and not of the standard library or of a
 * module that it requires.
 * @typedef {{call: string, place: string, own: boolean}} Frame
 */

/** The first elements of the import paths of the standard library, as of Go 1.26. */
const standard = new Set(["archive", "bufio", "bytes", "cmp", "compress", "container", "context", "crypto", "database", "debug", "embed", "encoding",
  "errors", "expvar", "flag", "fmt", "go", "hash", "html", "image", "index", "internal", "io", "iter", "log", "maps", "math", "mime", "net", "os",
  "path", "plugin", "reflect", "regexp", "runtime", "slices", "sort", "strconv", "strings", "structs", "sync", "syscall", "testing", "text", "time",
  "unicode", "unique", "unsafe", "weak", "panic", "vendor"]);

/**
 * Parses a stack trace as package runtime/debug prints it: for each call a line with the function
 * and its arguments, and an indented line with the file.
 * @param {string} text
 * @returns {Frame[]} empty if it is another kind of text
 */
export function framesOf(text) {
  /** @type {Frame[]} */
  const frames = [];
  const lines = text.split("\n");
  for (let n = 1; n < lines.length; n++) {
    const file = /^\t(.+?:\d+)(?: \+0x[0-9a-f]+)?$/.exec(lines[n]);
    if (!file) continue;
    const call = lines[n - 1].replace(/^created by /, "").replace(/ in goroutine \d+$/, "").replace(/\([^()]*\)$/, "");
    frames.push({ call, place: file[1], own: isOwn(call, file[1]) });
  }
  return frames;
}

/**
 * Reports whether a call is the program's own. Modules that a program requires are in directories
 * with a version, such as chi@v5.2.1, or in vendor.
 * @param {string} call
 * @param {string} place
 */
function isOwn(call, place) {
  if (/@v\d/.test(place) || place.includes("/vendor/")) return false;
  const path = call.split("(", 1)[0].replace(/\.[^./]*$/, ""); // of the package, or nearly so
  return !standard.has(path.split(/[/.]/)[0]) && !/^github\.com\/dendrotrace\/dendro(\/(middleware|transport|sqldriver)\b|\.|$)/.test(call);
}
