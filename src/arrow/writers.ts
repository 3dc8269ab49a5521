/** Chooses the field writer for an Arrow type and a PostgreSQL type: the type table, carried out. */
import type { Data, Date_, Float, Int, Time } from 'apache-arrow';
import { DateUnit, Precision, Type } from 'apache-arrow';
import { WarehouseError } from '../runtime/errors.ts';
import { byteCursorOf, dictionaryRowsOf } from './column.ts';
import { writeJsonb } from './json.ts';
import type { PgType } from './types.ts';
import { typeText } from './types.ts';
import type { ColumnWriter } from './writer.ts';
import {
  writeBytea,
  writeFixedBytea,
  writeBytesAsHexText,
  writeBytesAsNumeric,
  writeHexTextAsBytea,
  writeJsonText,
  writeText,
  writeTextAsNumeric,
} from './writers-bytes.ts';
import { writeBoolean, writeFloat, writeInteger, writeInteger64 } from './writers-number.ts';
import { decimalAmount, integer64Amount, integerAmount, writeNumeric } from './writers-numeric.ts';
import {
  writeDate32,
  writeDate64,
  writeDuration,
  writeInterval,
  writeTime32,
  writeTime64,
  writeTimestamp,
} from './writers-time.ts';

/** `requireConversion` stands before every binding; who comes here unasked has found a bug. */
const notInTable = (data: Data, target: PgType): WarehouseError =>
  new WarehouseError('internal', `no writer from ${typeText(data.type)} to ${target}`);

const bindInteger = (data: Data, target: PgType): ColumnWriter => {
  const { bitWidth, isSigned } = data.type as Int;
  const wide = bitWidth === 64;
  switch (target) {
    case 'smallint':
    case 'integer':
    case 'bigint':
      return wide ? writeInteger64(data, isSigned, target) : writeInteger(data, target);
    case 'numeric':
      return writeNumeric(wide ? integer64Amount(data, isSigned) : integerAmount(data));
    default:
      throw notInTable(data, target);
  }
};

const bindFloat = (data: Data, target: PgType): ColumnWriter => {
  const half = (data.type as Float).precision === Precision.HALF;
  return writeFloat(data, half, target === 'real' ? 'real' : 'double precision');
};

const bindText = (data: Data, target: PgType): ColumnWriter => {
  const cursor = byteCursorOf(data)!;
  switch (target) {
    case 'text':
      return writeText(cursor);
    case 'numeric':
      return writeTextAsNumeric(cursor);
    case 'bytea':
      return writeHexTextAsBytea(cursor);
    case 'jsonb':
      return writeJsonText(cursor);
    default:
      throw notInTable(data, target);
  }
};

const bindBinary = (data: Data, target: PgType): ColumnWriter => {
  const cursor = byteCursorOf(data)!;
  switch (target) {
    case 'bytea':
      // Words only where they cannot reach over the end of a row; the cursor has checked that all rows are there.
      return data.typeId === Type.FixedSizeBinary && data.stride % 4 === 0 && data.stride <= 64
        ? writeFixedBytea(data.values as Uint8Array, data.stride)
        : writeBytea(cursor);
    case 'text':
      return writeBytesAsHexText(cursor);
    case 'numeric':
      return writeBytesAsNumeric(cursor);
    default:
      throw notInTable(data, target);
  }
};

const bindDate = (data: Data): ColumnWriter =>
  (data.type as Date_).unit === DateUnit.DAY ? writeDate32(data) : writeDate64(data);

const bindTime = (data: Data): ColumnWriter =>
  (data.type as Time).bitWidth === 32 ? writeTime32(data) : writeTime64(data);

/** Every chunk of the dictionary gets the writer of its values; a row only finds its value. */
const bindDictionary = (data: Data, target: PgType): ColumnWriter => {
  const rows = dictionaryRowsOf(data);
  const writers = rows.chunks.map((chunk) => bindWriter(chunk, target));
  return {
    write(row, out, view, pos) {
      const index = rows.indexOf(row);
      const chunk = rows.chunkOf(index);
      return writers[chunk]!.write(index - rows.firstOf[chunk]!, out, view, pos);
    },
    bound(first, last) {
      let bytes = 0;
      for (let row = first; row < last; row++) {
        bytes += NULL_FIELD_BYTES;
        if (rows.isNull(row)) continue;
        const index = rows.indexOf(row);
        const chunk = rows.chunkOf(index);
        const at = index - rows.firstOf[chunk]!;
        bytes += writers[chunk]!.bound(at, at + 1);
      }
      return bytes;
    },
  };
};

const NULL_FIELD_BYTES = 4;

const allNull: ColumnWriter = {
  write: (_row, _out, view, pos) => {
    view.setInt32(pos, -1);
    return pos + NULL_FIELD_BYTES;
  },
  bound: (first, last) => (last - first) * NULL_FIELD_BYTES,
};

const BINDERS: Readonly<Partial<Record<Type, (data: Data, target: PgType) => ColumnWriter>>> = {
  [Type.Null]: () => allNull,
  [Type.Bool]: writeBoolean,
  [Type.Int]: bindInteger,
  [Type.Float]: bindFloat,
  [Type.Decimal]: (data) => writeNumeric(decimalAmount(data)),
  [Type.Utf8]: bindText,
  [Type.LargeUtf8]: bindText,
  [Type.Utf8View]: bindText,
  [Type.Binary]: bindBinary,
  [Type.LargeBinary]: bindBinary,
  [Type.BinaryView]: bindBinary,
  [Type.FixedSizeBinary]: bindBinary,
  [Type.Date]: bindDate,
  [Type.Time]: bindTime,
  [Type.Timestamp]: writeTimestamp,
  [Type.Duration]: writeDuration,
  [Type.Interval]: writeInterval,
  [Type.List]: writeJsonb,
  [Type.LargeList]: writeJsonb,
  [Type.FixedSizeList]: writeJsonb,
  [Type.Struct]: writeJsonb,
  [Type.Map]: writeJsonb,
  [Type.Dictionary]: bindDictionary,
};

/**
 * Binds a column of a batch to the writer of its fields. `requireConversion` must have allowed the target type.
 *
 * @throws WarehouseError `protocol` when the column's buffers contradict each other
 */
export const bindWriter = (data: Data, target: PgType): ColumnWriter => {
  const bind = BINDERS[data.typeId];
  if (bind === undefined) throw notInTable(data, target);
  return bind(data, target);
};
