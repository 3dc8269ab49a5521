/** CopyData frames: buffers that are complete protocol messages, ready for the socket in one write. */

/** Byte 'd' and an int32 length stand before the payload. */
export const FRAME_HEAD_BYTES = 5;

const COPY_DATA = 0x64;

/** PostgreSQL refuses a message of 1 GiB or more. */
export const MAX_FRAME_BYTES = 0x3fff_ffff;

/** Frames grow to this, unless a single row is larger. */
export const MAX_CHUNK_BYTES = 16 * 1024 * 1024;

/** Default size of a frame: enough for one write to fill a socket's buffer, little enough to stay in the cache. */
export const DEFAULT_CHUNK_BYTES = 256 * 1024;

/** A frame being filled, from `FRAME_HEAD_BYTES` on. */
export interface OpenFrame {
  readonly bytes: Buffer;
  readonly view: DataView;
}

/** Frames of the default size that were sent and may be filled anew: fresh ones cost page faults and garbage collection. */
const spares: OpenFrame[] = [];

/** Spare frames kept at most: 16 MiB. */
const SPARES_MAX = 64;

/** A frame to fill; not from Node's pool, for the socket may hold it long. */
export const openFrame = (capacity: number): OpenFrame => {
  const spare = capacity === DEFAULT_CHUNK_BYTES ? spares.pop() : undefined;
  if (spare !== undefined) return spare;
  const bytes = Buffer.allocUnsafeSlow(capacity);
  return { bytes, view: new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength) };
};

/** Takes a frame back that nobody will read again. */
export const recycleFrame = (frame: Buffer): void => {
  const { buffer } = frame;
  if (buffer.byteLength !== DEFAULT_CHUNK_BYTES || spares.length >= SPARES_MAX) return;
  spares.push({ bytes: Buffer.from(buffer), view: new DataView(buffer) });
};

/** Writes the head of a frame filled up to `end`, and cuts it there. */
export const sealFrame = ({ bytes, view }: OpenFrame, end: number): Buffer => {
  bytes[0] = COPY_DATA;
  // The length counts itself, but not the type byte.
  view.setInt32(1, end - 1);
  return bytes.subarray(0, end);
};

const frameOf = (payload: Uint8Array): Buffer => {
  const frame = openFrame(FRAME_HEAD_BYTES + payload.length);
  frame.bytes.set(payload, FRAME_HEAD_BYTES);
  return sealFrame(frame, frame.bytes.length);
};

/** The signature, then no flags and no header extension. */
const SIGNATURE = Buffer.from('PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0', 'latin1');

/** The frame that opens a COPY BINARY stream. */
export const headerFrame = (): Buffer => frameOf(SIGNATURE);

/** The frame that ends it: a row of −1 columns. */
export const trailerFrame = (): Buffer => frameOf(Uint8Array.of(0xff, 0xff));
