/** Labels in memory: a hash table over one piece of bytes, from an account to its label's fields as COPY BINARY has them. */

/** Labels by account. */
export interface LabelIndex {
  readonly size: number;
  /** What all places point into. */
  readonly bytes: Uint8Array;
  /** The place of an account's label; −1 where it has none. */
  find(account: Uint8Array, start: number, end: number): number;
  /** Where the fields of the label at a place begin, and where they end. */
  fieldsStart(place: number): number;
  fieldsEnd(place: number): number;
}

const LENGTH_BYTES = 4;
/** FNV-1a: short keys, many of them hashes already. */
const FNV_BASIS = 0x811c9dc5;
const FNV_PRIME = 0x01000193;
/** The last step of MurmurHash3: the low bits decide, so all bits must reach them. */
const MIX = 0x85ebca6b;

const hashOf = (bytes: Uint8Array, start: number, end: number): number => {
  let hash = FNV_BASIS;
  for (let at = start; at < end; at++) hash = Math.imul(hash ^ bytes[at]!, FNV_PRIME);
  hash = Math.imul(hash ^ (hash >>> 16), MIX);
  return hash ^ (hash >>> 13);
};

const isSame = (a: Uint8Array, aStart: number, b: Uint8Array, bStart: number, length: number): boolean => {
  for (let at = 0; at < length; at++) if (a[aStart + at] !== b[bStart + at]) return false;
  return true;
};

/** Where each entry begins. */
const entriesOf = (view: DataView): number[] => {
  const entries: number[] = [];
  for (let at = 0; at < view.byteLength;) {
    entries.push(at);
    at += LENGTH_BYTES + view.getInt32(at);
    at += LENGTH_BYTES + view.getInt32(at);
  }
  return entries;
};

/**
 * Indexes labels.
 *
 * @param bytes of each label: int32 length and account, int32 length and fields; no account twice
 */
export const createLabelIndex = (bytes: Uint8Array): LabelIndex => {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const entries = entriesOf(view);
  const slots = 2 ** Math.ceil(Math.log2(2 * entries.length + 1));
  /** The place of an entry, its offset, by hash; −1 is free. */
  const table = new Int32Array(slots).fill(-1);
  for (const place of entries) {
    const start = place + LENGTH_BYTES;
    let slot = hashOf(bytes, start, start + view.getInt32(place)) & (slots - 1);
    while (table[slot] !== -1) slot = (slot + 1) & (slots - 1);
    table[slot] = place;
  }
  const fieldsStart = (place: number): number => place + 2 * LENGTH_BYTES + view.getInt32(place);
  return {
    size: entries.length,
    bytes,
    find: (account, start, end) => {
      const length = end - start;
      for (let slot = hashOf(account, start, end) & (slots - 1); ; slot = (slot + 1) & (slots - 1)) {
        const place = table[slot]!;
        if (place === -1) return -1;
        if (view.getInt32(place) === length && isSame(bytes, place + LENGTH_BYTES, account, start, length))
          return place;
      }
    },
    fieldsStart,
    fieldsEnd: (place) => {
      const start = fieldsStart(place);
      return start + view.getInt32(start - LENGTH_BYTES);
    },
  };
};
