/** Data errors of the encoder: what a value looked like, and the column and row it was found in. */
import type { ErrorDetail } from '../runtime/errors.ts';
import { WarehouseError, withDetail } from '../runtime/errors.ts';

const MAX_VALUE_CHARS = 80;

/** At most 80 characters of a value, fit for an error message. */
export const shortened = (value: string): string =>
  value.length <= MAX_VALUE_CHARS ? value : `${value.slice(0, MAX_VALUE_CHARS - 1)}…`;

/** The text of UTF-8 bytes, shortened; what is not UTF-8 shows as U+FFFD. */
export const shownText = (bytes: Uint8Array, start: number, end: number): string =>
  shortened(Buffer.from(bytes.subarray(start, Math.min(end, start + 4 * MAX_VALUE_CHARS))).toString('utf8'));

/** Bytes as `0x…`, shortened. */
export const shownHex = (bytes: Uint8Array, start: number, end: number): string =>
  shortened(
    `0x${Buffer.from(bytes.subarray(start, Math.min(end, start + MAX_VALUE_CHARS))).toString('hex')}`,
  );

/** A value that PostgreSQL cannot hold. Column and row are added by the loop that knows them (`located`). */
export const badValue = (message: string, value: string, remedy: string): WarehouseError =>
  new WarehouseError('data', message, { value, remedy });

/** A batch whose buffers contradict each other: the stream is damaged, the data is not to blame. */
export const badLayout = (what: string): WarehouseError =>
  new WarehouseError('protocol', `damaged record batch: ${what}`, {
    remedy: 'Reconnect; if it comes again, report it to the operator of the Flight server.',
  });

/** The same error with the column or the row it happened in; what is already known stays. */
export const located = (thrown: unknown, where: ErrorDetail): unknown =>
  thrown instanceof WarehouseError ? withDetail(thrown, where) : thrown;
