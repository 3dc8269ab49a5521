/** The protobuf wire format, as much of it as Flight's messages need. */
import { WarehouseError } from '../runtime/errors.ts';

/** One field of a message. Numbers come for varints and fixed words we skip, bytes (views, not copies) for the rest. */
export type WireField =
  | { readonly number: number; readonly kind: 'varint'; readonly value: bigint }
  | { readonly number: number; readonly kind: 'bytes'; readonly value: Uint8Array }
  | { readonly number: number; readonly kind: 'fixed' };

/** A 64-bit varint has at most this many bytes. */
const MAX_VARINT_BYTES = 10;
/** Largest length a field may claim: Node's buffers and gRPC messages stay below it. */
const MAX_LENGTH_BYTES = 0x7fffffff;
const MAX_FIELD_NUMBER = 536_870_911;

const VARINT = 0;
const FIXED_64 = 1;
const LENGTH_DELIMITED = 2;
const FIXED_32 = 5;

const broken = (what: string): WarehouseError =>
  new WarehouseError('protocol', `The server sent a message that is not protobuf: ${what}.`, {
    remedy: 'Check that the address is that of an Arrow Flight server.',
  });

interface Varint {
  readonly value: bigint;
  readonly end: number;
}

/** A message has a handful of fields, so BigInt costs nothing here and keeps 64 bits exact. */
const readVarint = (bytes: Uint8Array, start: number): Varint => {
  let value = 0n;
  for (let index = 0; index < MAX_VARINT_BYTES; index += 1) {
    const byte = bytes[start + index];
    if (byte === undefined) throw broken('it ends inside a number');
    value |= BigInt(byte & 0x7f) << BigInt(7 * index);
    if (byte < 0x80) return { value: BigInt.asUintN(64, value), end: start + index + 1 };
  }
  throw broken(`a number has more than ${MAX_VARINT_BYTES} bytes`);
};

const skipTo = (bytes: Uint8Array, end: number): number => {
  if (end > bytes.length) throw broken('it ends inside a field');
  return end;
};

/**
 * The fields of one message in the order sent, without copying a byte.
 *
 * @throws WarehouseError `protocol` when the message is truncated or not protobuf.
 */
export function* fieldsOf(bytes: Uint8Array): Generator<WireField, void, undefined> {
  let position = 0;
  while (position < bytes.length) {
    const tag = readVarint(bytes, position);
    position = tag.end;
    const number = Number(tag.value >> 3n);
    const kind = Number(tag.value & 7n);
    if (number === 0 || number > MAX_FIELD_NUMBER) throw broken(`${number} is no field number`);
    if (kind === VARINT) {
      const { value, end } = readVarint(bytes, position);
      position = end;
      yield { number, kind: 'varint', value };
    } else if (kind === LENGTH_DELIMITED) {
      const { value: length, end } = readVarint(bytes, position);
      if (length > MAX_LENGTH_BYTES) throw broken(`a field claims ${length} bytes`);
      position = skipTo(bytes, end + Number(length));
      yield { number, kind: 'bytes', value: bytes.subarray(end, position) };
    } else if (kind === FIXED_64 || kind === FIXED_32) {
      position = skipTo(bytes, position + (kind === FIXED_64 ? 8 : 4));
      yield { number, kind: 'fixed' };
    } else {
      throw broken(`wire type ${kind} is unknown`);
    }
  }
}

const varintLength = (value: number): number => {
  let length = 1;
  for (let rest = value; rest >= 0x80; rest = Math.floor(rest / 128)) length += 1;
  return length;
};

const writeVarint = (target: Uint8Array, start: number, value: number): number => {
  let position = start;
  let rest = value;
  while (rest >= 0x80) {
    target[position] = (rest % 128) | 0x80;
    rest = Math.floor(rest / 128);
    position += 1;
  }
  target[position] = rest;
  return position + 1;
};

/** A field to be written: a non-negative safe integer, text as UTF-8, or bytes. */
export type OutgoingField = readonly [number: number, value: number | string | Uint8Array];

const tagOf = (number: number, kind: number): number => number * 8 + kind;

const sizeOf = (number: number, value: number | Uint8Array): number =>
  typeof value === 'number'
    ? varintLength(tagOf(number, VARINT)) + varintLength(value)
    : varintLength(tagOf(number, LENGTH_DELIMITED)) + varintLength(value.length) + value.length;

/** One message of these fields, in this order, in one allocation. */
export const encodeFields = (fields: readonly OutgoingField[]): Buffer => {
  const encoded = fields.map(
    ([number, value]) => [number, typeof value === 'string' ? Buffer.from(value, 'utf8') : value] as const,
  );
  let size = 0;
  for (const [number, value] of encoded) size += sizeOf(number, value);
  const target = Buffer.allocUnsafe(size);
  let position = 0;
  for (const [number, value] of encoded) {
    const isNumber = typeof value === 'number';
    position = writeVarint(target, position, tagOf(number, isNumber ? VARINT : LENGTH_DELIMITED));
    position = writeVarint(target, position, isNumber ? value : value.length);
    if (isNumber) continue;
    target.set(value, position);
    position += value.length;
  }
  return target;
};
