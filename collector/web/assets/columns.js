// @ts-check

/**
 * A trace with one column per property, as returned by skeleton.go. Times are
 * nanoseconds since its start. Rows are in the order of the tree: a subtree is a row
 * and the size-1 rows after it.
 * @typedef {object} Skeleton
 * @property {string} traceId
 * @property {string} start
 * @property {number} duration
 * @property {number} spans
 * @property {boolean} straight whether times are shifted, so that the clocks of processes agree
 * @property {{name: string, colour: number}[]} services
 * @property {string[]} names
 * @property {string[]} id
 * @property {number[]} parent
 * @property {number[]} depth
 * @property {number[]} size
 * @property {number[]} offset
 * @property {number[]} length
 * @property {number[]} self
 * @property {number[]} name
 * @property {number[]} service
 * @property {number[]} kind
 * @property {number[]} status
 * @property {number[] | null} detached
 * @property {number[] | null} late
 * @property {number[] | null} twice
 * @property {number[] | null} skewRow
 * @property {number[] | null} skewShift
 * @property {number[] | null} foldRow
 * @property {number[] | null} foldSpans
 * @property {number[] | null} foldErrors
 * @property {number[] | null} foldTotal
 * @property {string[] | null} foldCaller
 * @property {number[] | null} eventRow
 * @property {number[] | null} eventName
 * @property {number[] | null} eventOffset
 * @property {number[] | null} eventLength
 * @property {number[] | null} criticalRow
 * @property {number[] | null} criticalOffset
 * @property {number[] | null} criticalLength
 */

/**
 * A row that represents the rows below it, which do the same work.
 * @typedef {{spans: number, errors: number, total: number, caller: string}} Fold
 */

export const kinds = ["internal", "server", "client", "producer", "consumer", "unspecified"];
export const statusError = 2;

/** @param {number} n */
export function errors(n) {
  return `${n} ${n === 1 ? "error" : "errors"}`;
}

/**
 * @param {Skeleton} s
 * @returns {Map<number, Fold>}
 */
export function foldsOf(s) {
  return new Map((s.foldRow ?? []).map((row, i) => [row, {
    spans: s.foldSpans?.[i] ?? 0, errors: s.foldErrors?.[i] ?? 0, total: s.foldTotal?.[i] ?? 0, caller: s.foldCaller?.[i] ?? "",
  }]));
}

/**
 * Lists the entries of each row, such as its events, in two arrays instead of one for each row.
 */
export class ByRow {
  /**
   * @param {number[] | null} rows the row of each entry
   * @param {number} total number of rows
   */
  constructor(rows, total) {
    const list = rows ?? [];
    this.first = new Int32Array(total + 1); // index in entries, by row
    this.entries = new Int32Array(list.length);
    for (const row of list) this.first[row + 1]++;
    for (let row = 0; row < total; row++) this.first[row + 1] += this.first[row];
    const next = this.first.slice(0, total);
    for (let n = 0; n < list.length; n++) this.entries[next[list[n]]++] = n;
  }

  /**
   * Returns the entries of the rows from, …, to-1.
   * @param {number} from
   * @param {number} [to]
   */
  of(from, to = from + 1) {
    return this.entries.subarray(this.first[from], this.first[to]);
  }
}
