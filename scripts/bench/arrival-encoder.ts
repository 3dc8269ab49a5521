/** The plainest encoder of balance changes: rows in arrival order, for the raw COPY that ours is measured against. */
import type { ChangeBuffer } from '../../src/arrow/changes.ts';

const CHUNK_BYTES = 256 * 1024;

/** Bytes of a row beside its account and delta. */
const FIXED_BYTES = 2 + 7 * 4 + 8 + 8 + 8 + 4 + 2;

const SIGNATURE = Buffer.from('PGCOPY\n\u00ff\r\n\0', 'latin1');

/** Takes changes as a ChangeBuffer does, but encodes each at once. */
export interface ArrivalEncoder extends ChangeBuffer {
  /** The whole COPY as frames. */
  finish(): Buffer[];
}

/** An encoder for source 1. */
export const createArrivalEncoder = (): ArrivalEncoder => {
  const list: Buffer[] = [frame(Buffer.concat([SIGNATURE, Buffer.alloc(8)]))];
  let chunk = Buffer.alloc(CHUNK_BYTES);
  let pos = 5;
  let count = 0;
  const seal = (): void => {
    if (pos === 5) return;
    chunk[0] = 0x64;
    chunk.writeInt32BE(pos - 1, 1);
    list.push(chunk.subarray(0, pos));
    chunk = Buffer.alloc(CHUNK_BYTES);
    pos = 5;
  };
  const bytes = (source: Uint8Array, start: number, end: number): void => {
    pos = chunk.writeInt32BE(end - start, pos);
    chunk.set(source.subarray(start, end), pos);
    pos += end - start;
  };
  const int64 = (high: number, low: number): void => {
    pos = chunk.writeInt32BE(8, pos);
    pos = chunk.writeInt32BE(high, pos);
    pos = chunk.writeUInt32BE(low >>> 0, pos);
  };
  const safe = (value: number): void =>
    int64(Math.floor(value / 2 ** 32), value % 2 ** 32 < 0 ? (value % 2 ** 32) + 2 ** 32 : value % 2 ** 32);
  return {
    get count() {
      return count;
    },
    get bytes() {
      return pos;
    },
    append: (
      account,
      accountStart,
      accountEnd,
      assetHigh,
      assetLow,
      time,
      block,
      ordinal,
      delta,
      deltaStart,
      deltaEnd,
    ) => {
      if (pos + FIXED_BYTES + accountEnd - accountStart + deltaEnd - deltaStart > chunk.length) seal();
      pos = chunk.writeInt16BE(7, pos);
      bytes(account, accountStart, accountEnd);
      int64(assetHigh, assetLow);
      safe(time);
      safe(block);
      pos = chunk.writeInt32BE(4, pos);
      pos = chunk.writeInt32BE(ordinal, pos);
      pos = chunk.writeInt32BE(2, pos);
      pos = chunk.writeInt16BE(1, pos);
      bytes(delta, deltaStart, deltaEnd);
      count++;
    },
    frames: function* frames() {
      yield* [];
    },
    deltas: function* deltas() {
      yield* [];
    },
    parts: () => ({ apart: new Map(), others: new Uint32Array() }),
    sort: () => undefined,
    clear: () => undefined,
    finish: () => {
      seal();
      list.push(frame(Buffer.from([0xff, 0xff])));
      return list;
    },
  };
};

const frame = (payload: Buffer): Buffer => {
  const head = Buffer.alloc(5);
  head[0] = 0x64;
  head.writeInt32BE(payload.length + 4, 1);
  return Buffer.concat([head, payload]);
};
