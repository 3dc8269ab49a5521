/** What a field writer is: the code that turns one row of one bound column into one field of a COPY BINARY row. */

/**
 * Writes one field, length word and value, at `pos`; returns the position behind it. The row must not be null.
 * `out` and `view` are the same memory.
 */
export type WriteField = (row: number, out: Uint8Array, view: DataView, pos: number) => number;

/** A column of one batch, bound to its buffers. */
export interface ColumnWriter {
  readonly write: WriteField;
  /** At least the bytes that `write` takes for rows [first, last), whether null or not. */
  readonly bound: (first: number, last: number) => number;
}

/** A writer whose fields take at most `width` bytes, length word included. */
export const fixedWidth = (width: number, write: WriteField): ColumnWriter => ({
  write,
  bound: (first, last) => (last - first) * width,
});
