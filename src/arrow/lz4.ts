/** A decoder of LZ4 frames, the form in which Arrow IPC carries LZ4-compressed buffers. */
import { WarehouseError } from '../runtime/errors.ts';

const MAGIC = 0x184d2204;
const MIN_MATCH = 4;

/** Largest output of one frame: Arrow's 32-bit offsets cannot address more in one buffer. */
const MAX_OUTPUT_BYTES = 0x7fff_ffff;

const corrupt = (what: string): WarehouseError =>
  new WarehouseError('protocol', `corrupt LZ4 frame: ${what}`, {
    remedy: 'Switch off LZ4 compression on the Flight server, or report the fault to it.',
  });

interface FrameHeader {
  readonly blocksAt: number;
  readonly blockChecksums: boolean;
  readonly contentSize: number | null;
}

const readFrameHeader = (frame: Uint8Array, view: DataView): FrameHeader => {
  if (frame.length < 7 || view.getUint32(0, true) !== MAGIC) throw corrupt('no magic number');
  const flags = frame[4]!;
  if (flags >> 6 !== 1) throw corrupt(`version ${flags >> 6}`);
  if ((flags & 1) !== 0) throw corrupt('it needs a dictionary');
  const hasSize = (flags & 8) !== 0;
  if (hasSize && frame.length < 15) throw corrupt('cut short');
  return {
    blocksAt: hasSize ? 15 : 7,
    blockChecksums: (flags & 16) !== 0,
    contentSize: hasSize ? Number(view.getBigUint64(6, true)) : null,
  };
};

/** The output as it grows; matches may reach back over earlier blocks, so there is one for the whole frame. */
interface Output {
  bytes: Uint8Array;
  length: number;
}

const reserve = (out: Output, more: number): void => {
  const wanted = out.length + more;
  if (wanted <= out.bytes.length) return;
  if (wanted > MAX_OUTPUT_BYTES) throw corrupt(`more than ${MAX_OUTPUT_BYTES} bytes`);
  const grown = new Uint8Array(Math.min(MAX_OUTPUT_BYTES, Math.max(wanted, out.bytes.length * 2)));
  grown.set(out.bytes.subarray(0, out.length));
  out.bytes = grown;
};

/** Copies `count` bytes from `distance` back; they may overlap what is being written, which repeats a pattern. */
const copyMatch = (out: Output, distance: number, count: number): void => {
  if (distance === 0 || distance > out.length) throw corrupt('a match before the start');
  reserve(out, count);
  const from = out.length - distance;
  if (distance >= count) out.bytes.copyWithin(out.length, from, from + count);
  else for (let index = 0; index < count; index++) out.bytes[out.length + index] = out.bytes[from + index]!;
  out.length += count;
};

const copyLiterals = (out: Output, block: Uint8Array, from: number, to: number): void => {
  if (to > block.length) throw corrupt('cut short');
  reserve(out, to - from);
  out.bytes.set(block.subarray(from, to), out.length);
  out.length += to - from;
};

const decodeBlock = (block: Uint8Array, out: Output): void => {
  let at = 0;
  /** A length of 15 goes on in further bytes, up to the first that is not 255. */
  const extend = (length: number): number => {
    if (length !== 15) return length;
    let sum = length;
    for (;;) {
      const next = block[at++];
      if (next === undefined) throw corrupt('cut short');
      sum += next;
      if (next !== 255) return sum;
    }
  };
  while (at < block.length) {
    const token = block[at++]!;
    const literals = extend(token >> 4);
    copyLiterals(out, block, at, at + literals);
    at += literals;
    // The last sequence of a block is literals only.
    if (at === block.length) return;
    if (at + 2 > block.length) throw corrupt('cut short');
    const distance = block[at]! | (block[at + 1]! << 8);
    at += 2;
    copyMatch(out, distance, extend(token & 15) + MIN_MATCH);
  }
};

/**
 * Decompresses one LZ4 frame. Checksums are passed over: gRPC and TCP carry their own.
 *
 * @throws WarehouseError `protocol` when the frame is corrupt or cut short
 */
export const decodeLz4Frame = (frame: Uint8Array): Uint8Array => {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  const { blocksAt, blockChecksums, contentSize } = readFrameHeader(frame, view);
  const firstGuess = Math.min(contentSize ?? frame.length * 4, 256 * frame.length);
  const out: Output = { bytes: new Uint8Array(firstGuess), length: 0 };
  for (let at = blocksAt; ;) {
    if (at + 4 > frame.length) throw corrupt('cut short');
    const word = view.getUint32(at, true);
    at += 4;
    if (word === 0) break;
    const size = word & 0x7fff_ffff;
    if (at + size > frame.length) throw corrupt('cut short');
    const block = frame.subarray(at, at + size);
    if (word > 0x7fff_ffff) copyLiterals(out, block, 0, size);
    else decodeBlock(block, out);
    at += size + (blockChecksums ? 4 : 0);
  }
  if (contentSize !== null && contentSize !== out.length) throw corrupt('not the size it promised');
  return out.bytes.subarray(0, out.length);
};
