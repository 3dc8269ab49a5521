/** From sorted balance changes to deltas: one sum per account, asset and period, framed for COPY into the fold's staging table. */
import type { ChangeColumns } from './changes-order.ts';
import { sameKey } from './changes-order.ts';
import {
  DEFAULT_CHUNK_BYTES,
  FRAME_HEAD_BYTES,
  headerFrame,
  openFrame,
  sealFrame,
  trailerFrame,
} from './frame.ts';
import type { OpenFrame } from './frame.ts';
import { sumNumerics } from './numeric-sum.ts';
import type { NumericSum } from './numeric-sum.ts';

/** The columns of `pg_temp.balance_deltas`, in the order they are written. */
export const DELTA_COLUMNS = ['account_address', 'asset_id', 'period', 'delta', 'change_count'] as const;

/** Count of fields, five length words, asset, period, change count. */
const FIXED_ROW_BYTES = 2 + 5 * 4 + 8 + 8 + 4;

const TWO_32 = 0x1_0000_0000;

/**
 * The deltas of changes, as the frames of one whole COPY.
 *
 * @param order numbers of the changes, sorted by (leaf, account, asset, time)
 * @param periodMicros length of a period; periods begin at multiples of it since 2000-01-01 UTC
 */
export const deltaFrames = function* (
  columns: ChangeColumns,
  arena: Uint8Array,
  order: Uint32Array,
  periodMicros: number,
): Generator<Buffer, void> {
  const payloads = new DataView(arena.buffer, arena.byteOffset, arena.byteLength);
  const periodOf = (change: number): number => Math.floor(columns.times[change]! / periodMicros);
  yield headerFrame();
  let frame = openFrame(DEFAULT_CHUNK_BYTES);
  let pos = FRAME_HEAD_BYTES;
  for (let first = 0; first < order.length;) {
    const change = order[first]!;
    const period = periodOf(change);
    const starts = [columns.accountEnds[change]!];
    let last = first + 1;
    for (; last < order.length; last++) {
      const next = order[last]!;
      if (periodOf(next) !== period || !sameKey(columns, arena, change, next)) break;
      starts.push(columns.accountEnds[next]!);
    }
    const delta = starts.length > 1 ? sumNumerics(payloads, starts) : copyOf(columns, arena, change);
    const bound = FIXED_ROW_BYTES + columns.accountEnds[change]! - columns.starts[change]! + delta.bytes;
    if (pos + bound > frame.bytes.length) {
      if (pos > FRAME_HEAD_BYTES) yield sealFrame(frame, pos);
      frame = openFrame(Math.max(DEFAULT_CHUNK_BYTES, FRAME_HEAD_BYTES + bound));
      pos = FRAME_HEAD_BYTES;
    }
    pos = putDelta(columns, arena, change, period * periodMicros, delta, starts.length, frame, pos);
    first = last;
  }
  if (pos > FRAME_HEAD_BYTES) yield sealFrame(frame, pos);
  yield trailerFrame();
};

/** The usual case: one change in its period, whose delta is copied as it is. */
const copyOf = (columns: ChangeColumns, arena: Uint8Array, change: number): NumericSum => {
  const start = columns.accountEnds[change]!;
  const bytes = columns.starts[change + 1]! - start;
  const write = (out: DataView, pos: number): number => {
    for (let index = 0; index < bytes; index++) out.setUint8(pos + index, arena[start + index]!);
    return pos + bytes;
  };
  return { bytes, write };
};

const putDelta = (
  columns: ChangeColumns,
  arena: Uint8Array,
  change: number,
  period: number,
  delta: NumericSum,
  count: number,
  { bytes, view }: OpenFrame,
  start: number,
): number => {
  const account = columns.starts[change]!;
  const accountEnd = columns.accountEnds[change]!;
  view.setInt16(start, DELTA_COLUMNS.length);
  view.setInt32(start + 2, accountEnd - account);
  let pos = start + 6;
  for (let index = account; index < accountEnd; index++) bytes[pos++] = arena[index]!;
  view.setInt32(pos, 8);
  view.setInt32(pos + 4, columns.assetHigh[change]!);
  view.setUint32(pos + 8, columns.assetLow[change]!);
  const high = Math.floor(period / TWO_32);
  view.setInt32(pos + 12, 8);
  view.setInt32(pos + 16, high);
  view.setUint32(pos + 20, period - high * TWO_32);
  view.setInt32(pos + 24, delta.bytes);
  pos = delta.write(view, pos + 28);
  view.setInt32(pos, 4);
  view.setInt32(pos + 4, count);
  return pos + 8;
};
