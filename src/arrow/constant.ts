/** Fields that are the same for all rows of a batch, such as `_batch_id`. */
import { WarehouseError } from '../runtime/errors.ts';
import { shortened } from './faults.ts';
import { numericTextBound, writeNumericText } from './numeric-text.ts';
import type { PgType } from './types.ts';
import type { ColumnWriter } from './writer.ts';
import { fixedWidth } from './writer.ts';
import { requireText } from './writers-bytes.ts';

/** A value that every row gets. `bigint` and `string` also serve numeric, `Date` the timestamps. */
export type ConstantValue = null | boolean | number | bigint | string | Date | Uint8Array;

const INTEGER_BYTES = { smallint: 2, integer: 4, bigint: 8 } as const;

/** 2000-01-01 in milliseconds since 1970. */
const EPOCH_MS = 946_684_800_000;

const misfit = (value: ConstantValue, target: PgType): WarehouseError =>
  new WarehouseError('data', `constant does not fit ${target}`, { value: shortened(String(value)) });

const integerBytes = (value: bigint, bytes: number): Buffer | null => {
  if (BigInt.asIntN(bytes * 8, value) !== value) return null;
  const out = Buffer.alloc(8);
  out.writeBigInt64BE(value);
  return out.subarray(8 - bytes);
};

const floatBytes = (value: number, bytes: 4 | 8): Buffer => {
  const out = Buffer.alloc(bytes);
  if (bytes === 4) out.writeFloatBE(value);
  else out.writeDoubleBE(value);
  return out;
};

const numericBytes = (text: string): Uint8Array => {
  const source = Buffer.from(text);
  const out = new Uint8Array(numericTextBound(source.length));
  return out.subarray(0, writeNumericText(source, 0, source.length, false, new DataView(out.buffer), 0));
};

const textBytes = (text: string): Buffer => {
  const bytes = Buffer.from(text);
  requireText(bytes, 0, bytes.length);
  return bytes;
};

/** The value part of the field, or null when the value is not of the type. */
const valueBytes = (value: Exclude<ConstantValue, null>, target: PgType): Uint8Array | null => {
  const whole = typeof value === 'bigint' || (typeof value === 'number' && Number.isSafeInteger(value));
  switch (target) {
    case 'smallint':
    case 'integer':
    case 'bigint':
      return whole ? integerBytes(BigInt(value), INTEGER_BYTES[target]) : null;
    case 'real':
      return typeof value === 'number' ? floatBytes(value, 4) : null;
    case 'double precision':
      return typeof value === 'number' ? floatBytes(value, 8) : null;
    case 'numeric':
      return whole || typeof value === 'string' ? numericBytes(String(value)) : null;
    case 'boolean':
      return typeof value === 'boolean' ? Uint8Array.of(value ? 1 : 0) : null;
    case 'text':
      return typeof value === 'string' ? textBytes(value) : null;
    case 'jsonb':
      return typeof value === 'string' ? Buffer.concat([Uint8Array.of(1), textBytes(value)]) : null;
    case 'bytea':
      return value instanceof Uint8Array ? value : null;
    case 'timestamp':
    case 'timestamptz':
      return value instanceof Date ? integerBytes(BigInt(value.getTime() - EPOCH_MS) * 1000n, 8) : null;
    default:
      return null;
  }
};

const fieldOf = (value: ConstantValue, target: PgType): Uint8Array => {
  const bytes = value === null ? new Uint8Array(0) : valueBytes(value, target);
  if (bytes === null) throw misfit(value, target);
  const field = new Uint8Array(4 + bytes.length);
  new DataView(field.buffer).setInt32(0, value === null ? -1 : bytes.length);
  field.set(bytes, 4);
  return field;
};

/**
 * A writer that gives every row the same field.
 *
 * @throws WarehouseError `data` when the value is not of the type
 */
export const writeConstant = (value: ConstantValue, target: PgType): ColumnWriter => {
  const field = fieldOf(value, target);
  return fixedWidth(field.length, (_row, out, _view, pos) => {
    for (let index = 0; index < field.length; index++) out[pos + index] = field[index]!;
    return pos + field.length;
  });
};
