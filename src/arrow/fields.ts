/** Column accessors for the `transfers` load: one bound accessor per column and batch, nothing allocated per row. */
import type { Data, FixedSizeBinary, Int, RecordBatch } from 'apache-arrow';
import { Type } from 'apache-arrow';
import { WarehouseError } from '../runtime/errors.ts';
import type { ByteCursor } from './column.ts';
import { byteCursorOf, dictionaryRowsOf, nullTest, numbersOf, wordsOf } from './column.ts';
import { badValue, located } from './faults.ts';
import { numericTextBound, writeNumericText } from './numeric-text.ts';
import { NUMERIC_BOUND, writeBigEndian } from './numeric.ts';
import { findField } from './source-field.ts';
import { typeText } from './types.ts';
import { unpackHex } from './writers-bytes.ts';
import { int64Of } from './writers-number.ts';
import type { WriteAmount } from './writers-numeric.ts';
import { decimalAmount, integer64Amount, integerAmount } from './writers-numeric.ts';
import { microsReader } from './writers-time.ts';

/** The bytes of one row at a time: an account address, a token key. */
export interface BytesField {
  readonly isNull: (row: number) => boolean;
  /** Points `bytes`, `start` and `end` at the row's bytes, until the next `seek`. The row must not be null. */
  readonly seek: (row: number) => void;
  readonly bytes: Uint8Array;
  readonly start: number;
  readonly end: number;
}

/** An exact amount per row, as the payload of a PostgreSQL numeric. */
export interface AmountField {
  readonly isNull: (row: number) => boolean;
  /** Most bytes `write` takes for this row. */
  readonly bound: (row: number) => number;
  /** Writes the payload, without a length word, at `pos`; `negate` flips the sign. Returns the position behind it. */
  readonly write: (row: number, view: DataView, pos: number, negate: boolean) => number;
}

/** A safe integer per row: microseconds since 2000-01-01 UTC, a block number, an ordinal. */
export interface NumberField {
  readonly isNull: (row: number) => boolean;
  readonly at: (row: number) => number;
}

/** A column of a batch as a list of plain parts: itself, or the chunks of its dictionary. */
interface Parts<T> {
  readonly isNull: (row: number) => boolean;
  /** Which part holds the row's value, and where in it. */
  readonly partOf: (row: number) => T;
  readonly indexOf: (row: number) => number;
}

const partsOf = <T>(data: Data, bind: (plain: Data) => T): Parts<T> => {
  if (data.typeId !== Type.Dictionary) {
    const only = bind(data);
    return { isNull: nullTest(data), partOf: () => only, indexOf: (row) => row };
  }
  const { chunks, indexOf, chunkOf, firstOf, isNull } = dictionaryRowsOf(data);
  const bound = chunks.map(bind);
  return {
    isNull,
    partOf: (row) => bound[chunkOf(indexOf(row))]!,
    indexOf: (row) => {
      const index = indexOf(row);
      return index - firstOf[chunkOf(index)]!;
    },
  };
};

/** Finds the column, binds it, and names it in whatever goes wrong, now or later at a row. */
const bindField = <T>(batch: RecordBatch, column: string, bind: (plain: Data) => T): Parts<T> => {
  const { index } = findField(batch.schema, column);
  try {
    return partsOf(batch.data.children[index]!, bind);
  } catch (thrown) {
    throw located(thrown, { column });
  }
};

const unsuitable = (data: Data, wanted: string): WarehouseError =>
  new WarehouseError('data', `${typeText(data.type)} cannot be read as ${wanted}`, {
    remedy: 'Cast the column in the query, or name another one in the dataset.',
  });

type Mutable<T> = { -readonly [Key in keyof T]: T[Key] };

const ZERO = 0x30;
const SMALL_X = 0x78;

/** The cursor with `0x…` text unpacked, as `strata.account(text)` does it. */
const accountCursor = (data: Data): ByteCursor => {
  const cursor = byteCursorOf(data);
  if (cursor === null) throw unsuitable(data, 'bytes');
  if (![Type.Utf8, Type.LargeUtf8, Type.Utf8View].includes(data.typeId)) return cursor;
  let scratch = new Uint8Array(64);
  const account: Mutable<ByteCursor> = {
    bytes: scratch,
    start: 0,
    end: 0,
    total: (first, last) => cursor.total(first, last),
    seek(row) {
      cursor.seek(row);
      const { bytes, start, end } = cursor;
      let unpackedEnd = -1;
      if (bytes[start] === ZERO && bytes[start + 1] === SMALL_X && end - start >= 2) {
        if (end - start > 2 * scratch.length) scratch = new Uint8Array(end - start);
        unpackedEnd = unpackHex(bytes, start + 2, end, scratch, 0);
      }
      account.bytes = unpackedEnd < 0 ? bytes : scratch;
      account.start = unpackedEnd < 0 ? start : 0;
      account.end = unpackedEnd < 0 ? end : unpackedEnd;
    },
  };
  return account;
};

/**
 * Account addresses and asset keys as stored: binary as it is, text `0x…` of even length its bytes, other text its UTF-8.
 *
 * @throws WarehouseError `data` when the column is missing, or neither text nor binary
 */
export const accountField = (batch: RecordBatch, column: string): BytesField => {
  const { isNull, partOf, indexOf } = bindField(batch, column, accountCursor);
  const field: Mutable<BytesField> = {
    bytes: new Uint8Array(0),
    start: 0,
    end: 0,
    isNull,
    seek(row) {
      try {
        const cursor = partOf(row);
        cursor.seek(indexOf(row));
        field.bytes = cursor.bytes;
        field.start = cursor.start;
        field.end = cursor.end;
      } catch (thrown) {
        throw located(thrown, { column, row });
      }
    },
  };
  return field;
};

/** Token and asset keys: the same rule. */
export const keyField = (batch: RecordBatch, column: string): BytesField => accountField(batch, column);

interface BoundAmount {
  readonly write: WriteAmount;
  readonly bound: (row: number) => number;
}

const fixedBound = (write: WriteAmount): BoundAmount => ({ write, bound: () => NUMERIC_BOUND });

const textAmount = (cursor: ByteCursor): BoundAmount => ({
  write(row, negate, view, pos) {
    cursor.seek(row);
    return writeNumericText(cursor.bytes, cursor.start, cursor.end, negate, view, pos);
  },
  bound: (row) => numericTextBound(cursor.total(row, row + 1)),
});

const MAX_AMOUNT_BYTES = 32;

const bytesAmount = (data: Data): BoundAmount => {
  if ((data.type as FixedSizeBinary).byteWidth > MAX_AMOUNT_BYTES) throw unsuitable(data, 'an amount');
  const cursor = byteCursorOf(data)!;
  return fixedBound((row, negate, view, pos) => {
    cursor.seek(row);
    return writeBigEndian(cursor.bytes, cursor.start, cursor.end, negate, view, pos);
  });
};

const bindAmount = (data: Data): BoundAmount => {
  switch (data.typeId) {
    case Type.Int: {
      const { bitWidth, isSigned } = data.type as Int;
      return fixedBound(bitWidth === 64 ? integer64Amount(data, isSigned) : integerAmount(data));
    }
    case Type.Decimal:
      return fixedBound(decimalAmount(data));
    case Type.FixedSizeBinary:
      return bytesAmount(data);
    case Type.Utf8:
    case Type.LargeUtf8:
    case Type.Utf8View:
      return textAmount(byteCursorOf(data)!);
    default:
      // Floats least of all: what they have lost cannot be found again.
      throw unsuitable(data, 'an exact amount');
  }
};

/**
 * Amounts: integers, decimals, text (decimal or `0x`), and unsigned big-endian FixedSizeBinary of up to 32 bytes.
 *
 * @throws WarehouseError `data` when the column is missing or of another type
 */
export const amountField = (batch: RecordBatch, column: string): AmountField => {
  const { isNull, partOf, indexOf } = bindField(batch, column, bindAmount);
  return {
    isNull,
    bound: (row) => partOf(row).bound(indexOf(row)),
    write(row, view, pos, negate) {
      try {
        return partOf(row).write(indexOf(row), negate, view, pos);
      } catch (thrown) {
        throw located(thrown, { column, row });
      }
    },
  };
};

type ReadNumber = (index: number) => number;

const numberField = (batch: RecordBatch, column: string, bind: (plain: Data) => ReadNumber): NumberField => {
  const { isNull, partOf, indexOf } = bindField(batch, column, bind);
  return {
    isNull,
    at(row) {
      try {
        return partOf(row)(indexOf(row));
      } catch (thrown) {
        throw located(thrown, { column, row });
      }
    },
  };
};

const bindTime = (data: Data): ReadNumber => {
  if (data.typeId !== Type.Timestamp) throw unsuitable(data, 'a time');
  return microsReader(data);
};

/**
 * Times, as microseconds since 2000-01-01 UTC; nanoseconds floor. Integers are not taken for times.
 *
 * @throws WarehouseError `data` when the column is missing or no timestamp
 */
export const timeField = (batch: RecordBatch, column: string): NumberField =>
  numberField(batch, column, bindTime);

const TWO_32 = 0x1_0000_0000;

const bindInteger64 = (data: Data, signed: boolean): ReadNumber => {
  const words = wordsOf(data, 2);
  return (row) => {
    const high = words[2 * row + 1]!;
    const low = words[2 * row]!;
    const value = (signed ? high : high >>> 0) * TWO_32 + (low >>> 0);
    if (Number.isSafeInteger(value)) return value;
    throw badValue(
      'beyond 2^53',
      String(int64Of(high, low, signed)),
      'No block or ordinal is that large: check the column.',
    );
  };
};

const bindInteger = (data: Data): ReadNumber => {
  if (data.typeId !== Type.Int) throw unsuitable(data, 'an integer');
  const { bitWidth, isSigned } = data.type as Int;
  if (bitWidth === 64) return bindInteger64(data, isSigned);
  const values = numbersOf(data);
  return (row) => values[row]!;
};

/**
 * Block numbers and ordinals, from any integer type.
 *
 * @throws WarehouseError `data` when the column is missing or no integer; at a row, when the value is beyond 2^53
 */
export const integerField = (batch: RecordBatch, column: string): NumberField =>
  numberField(batch, column, bindInteger);
