/** Field writers for integers and decimals that go into a numeric column. */
import type { Data, Decimal } from 'apache-arrow';
import { numbersOf, wordsOf } from './column.ts';
import { NUMERIC_BOUND, requireScale, writeSafeInteger, writeWords } from './numeric.ts';
import type { ColumnWriter } from './writer.ts';
import { fixedWidth } from './writer.ts';

const LENGTH_BYTES = 4;

/** Writes the payload of one row's number, or of its opposite; see `writeWords`. */
export type WriteAmount = (row: number, negate: boolean, view: DataView, pos: number) => number;

/** Decimal of 32 to 256 bits. */
export const decimalAmount = (data: Data): WriteAmount => {
  const { scale, bitWidth } = data.type as Decimal;
  requireScale(scale);
  const count = bitWidth / 32;
  const words = wordsOf(data, count);
  return (row, negate, view, pos) => writeWords(words, row * count, count, true, scale, negate, view, pos);
};

/** Integer of 64 bits. */
export const integer64Amount = (data: Data, signed: boolean): WriteAmount => {
  const words = wordsOf(data, 2);
  return (row, negate, view, pos) => writeWords(words, row * 2, 2, signed, 0, negate, view, pos);
};

/** Integer of up to 32 bits. */
export const integerAmount = (data: Data): WriteAmount => {
  const values = numbersOf(data);
  return (row, negate, view, pos) => writeSafeInteger(values[row]!, negate, view, pos);
};

/** Any of them → numeric. */
export const writeNumeric = (amount: WriteAmount): ColumnWriter =>
  fixedWidth(LENGTH_BYTES + NUMERIC_BOUND, (row, _out, view, pos) => {
    const end = amount(row, false, view, pos + LENGTH_BYTES);
    view.setInt32(pos, end - pos - LENGTH_BYTES);
    return end;
  });
