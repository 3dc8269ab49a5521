/** Decoded Arrow columns as plain JSON, exact: integers, decimals and times as digits, bytes as hex. */
import { DataType, Type, Vector } from 'apache-arrow';
import type { Data } from 'apache-arrow';

/** What JSON can say. */
export type Plain = null | boolean | number | string | readonly Plain[] | { readonly [key: string]: Plain };

const BITS_PER_WORD = 32n;

const decimalText = (words: Uint32Array, scale: number): string => {
  const raw = words.reduceRight((value, word) => (value << BITS_PER_WORD) | BigInt(word), 0n);
  const value = BigInt.asIntN(words.length * Number(BITS_PER_WORD), raw);
  const digits = String(value < 0n ? -value : value).padStart(scale + 1, '0');
  const whole = scale === 0 ? digits : `${digits.slice(0, -scale)}.${digits.slice(-scale)}`;
  return value < 0n ? `-${whole}` : whole;
};

/** Types whose values are their raw integers. */
const isRaw = (type: DataType): boolean =>
  DataType.isInt(type) || DataType.isDate(type) || DataType.isTime(type) || DataType.isTimestamp(type);

const bytesOf = (value: unknown): Plain =>
  value instanceof Uint8Array ? Buffer.from(value).toString('hex') : String(value);

const listItems = (data: Data, row: number): Plain => {
  const child = data.children[0];
  if (child === undefined) return [];
  const stride = DataType.isFixedSizeList(data.type) ? data.type.listSize : null;
  const [from, to] =
    stride === null
      ? [Number(data.valueOffsets[row]), Number(data.valueOffsets[row + 1])]
      : [row * stride, (row + 1) * stride];
  return Array.from({ length: to - from }, (_, index) => plainValue(child, from + index));
};

const structOf = (data: Data, row: number): Plain =>
  Object.fromEntries(
    data.type.children.map(({ name }: { name: string }, index: number) => {
      const child = data.children[index];
      return [name, child === undefined ? null : plainValue(child, row)];
    }),
  );

const isList = (type: DataType): boolean =>
  [Type.List, Type.LargeList, Type.FixedSizeList].includes(type.typeId);

/** One value of a column. */
const plainValue = (data: Data, row: number): Plain => {
  const { type } = data;
  if (DataType.isNull(type) || !data.getValid(row)) return null;
  if (isRaw(type)) return String(data.values[row]);
  if (DataType.isDecimal(type)) {
    const words = type.bitWidth / Number(BITS_PER_WORD);
    return decimalText(data.values.subarray(row * words, (row + 1) * words), type.scale);
  }
  if (isList(type)) return listItems(data, row);
  if (DataType.isStruct(type)) return structOf(data, row);
  const value: unknown = new Vector([data]).get(row);
  return typeof value === 'boolean' || typeof value === 'number' || typeof value === 'string'
    ? value
    : bytesOf(value);
};

/** All values of a column. */
export const plainColumn = (data: Data): readonly Plain[] =>
  Array.from({ length: data.length }, (_, row) => plainValue(data, row));
