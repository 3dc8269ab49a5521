/** Lists, structs and maps of Arrow as exact JSON, and the jsonb field writer over it. */
import type { Data, Date_, Decimal, Duration, Float, Int, Interval, Time, Timestamp } from 'apache-arrow';
import { DateUnit, IntervalUnit, Precision, TimeUnit, Type, util } from 'apache-arrow';
import type { ByteCursor } from './column.ts';
import {
  bitAt,
  bitsOf,
  byteCursorOf,
  dictionaryRowsOf,
  nullTest,
  numbersOf,
  offsetsOf,
  wordsOf,
} from './column.ts';
import { badLayout, located } from './faults.ts';
import { isoDate, isoDuration, isoInterval, isoTime, isoTimestamp } from './json-time.ts';
import type { ColumnWriter } from './writer.ts';
import { requireFieldLength, requireText } from './writers-bytes.ts';

/*
 * Numbers stay exact: jsonb keeps them as numeric, so 64-bit integers and decimals are written digit by digit. NaN and
 * the infinities become strings, as PostgreSQL's own to_jsonb has them. Binary is 0x hex; times are ISO 8601.
 */

/** The JSON of one row. */
type Render = (row: number) => string;

const renderFloat = (value: number): string =>
  Number.isFinite(value) ? JSON.stringify(value) : `"${String(value)}"`;

const DAY_MS = 86_400_000;

const renderNumbers = (data: Data, show: (value: number) => string): Render => {
  const values = numbersOf(data);
  return (row) => show(values[row]!);
};

const renderInt64 = (data: Data, show: (value: bigint) => string): Render => {
  const words = wordsOf(data, 2);
  const values = new BigInt64Array(words.buffer as ArrayBuffer, words.byteOffset, words.length / 2);
  return (row) => show(values[row]!);
};

/** The integer of `count` little-endian words. */
const bigintOf = (words: Int32Array, at: number, count: number): bigint => {
  let value = BigInt(words[at + count - 1]!);
  for (let index = count - 2; index >= 0; index--) value = (value << 32n) | BigInt(words[at + index]! >>> 0);
  return value;
};

const decimalText = (value: bigint, scale: number): string => {
  if (scale <= 0) return String(value * 10n ** BigInt(-scale));
  const digits = String(value < 0n ? -value : value).padStart(scale + 1, '0');
  return `${value < 0n ? '-' : ''}${digits.slice(0, -scale)}.${digits.slice(-scale)}`;
};

const renderDecimal = (data: Data): Render => {
  const { bitWidth, scale } = data.type as Decimal;
  const count = bitWidth / 32;
  const words = wordsOf(data, count);
  return (row) => decimalText(bigintOf(words, row * count, count), scale);
};

const renderInt = (data: Data): Render => {
  const { isSigned, bitWidth } = data.type as Int;
  if (bitWidth < 64) return renderNumbers(data, String);
  return renderInt64(data, isSigned ? String : (value) => String(BigInt.asUintN(64, value)));
};

const renderFloats = (data: Data): Render => {
  const { precision } = data.type as Float;
  return renderNumbers(
    data,
    precision === Precision.HALF ? (value) => renderFloat(util.uint16ToFloat64(value)) : renderFloat,
  );
};

const quoted =
  <T>(show: (value: T, unit: TimeUnit) => string, unit: TimeUnit) =>
  (value: T): string =>
    `"${show(value, unit)}"`;

const renderTime = (data: Data): Render => {
  const { unit, bitWidth } = data.type as Time;
  if (bitWidth === 64) return renderInt64(data, quoted(isoTime, unit));
  return renderNumbers(data, (value) => `"${isoTime(BigInt(value), unit)}"`);
};

const renderDate = (data: Data): Render =>
  (data.type as Date_).unit === DateUnit.DAY
    ? renderNumbers(data, (days) => `"${isoDate(days)}"`)
    : renderInt64(data, (ms) => `"${isoDate(Math.floor(Number(ms) / DAY_MS))}"`);

const renderTimestamp = (data: Data): Render => {
  const { unit, timezone } = data.type as Timestamp;
  return renderInt64(data, (value) => `"${isoTimestamp(value, unit, Boolean(timezone))}"`);
};

const renderDuration = (data: Data): Render =>
  renderInt64(data, quoted(isoDuration, (data.type as Duration).unit));

const renderInterval = (data: Data): Render => {
  const words = numbersOf(data);
  switch ((data.type as Interval).unit) {
    case IntervalUnit.YEAR_MONTH:
      return (row) => `"${isoInterval(words[row]!, 0, 0n, TimeUnit.SECOND)}"`;
    case IntervalUnit.DAY_TIME:
      return (row) =>
        `"${isoInterval(0, words[2 * row]!, BigInt(words[2 * row + 1]!), TimeUnit.MILLISECOND)}"`;
    default:
      return (row) => {
        const nanos = bigintOf(words as Int32Array, 4 * row + 2, 2);
        return `"${isoInterval(words[4 * row]!, words[4 * row + 1]!, nanos, TimeUnit.NANOSECOND)}"`;
      };
  }
};

const bufferOf = ({ bytes, start, end }: ByteCursor): Buffer =>
  Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start);

const renderText = (cursor: ByteCursor): Render => {
  return (row) => {
    cursor.seek(row);
    requireText(cursor.bytes, cursor.start, cursor.end);
    return JSON.stringify(bufferOf(cursor).toString('utf8'));
  };
};

const renderBinary = (cursor: ByteCursor): Render => {
  return (row) => {
    cursor.seek(row);
    return `"0x${bufferOf(cursor).toString('hex')}"`;
  };
};

const renderBytes = (data: Data, isText: boolean): Render => {
  const cursor = byteCursorOf(data)!;
  return isText ? renderText(cursor) : renderBinary(cursor);
};

const renderDictionary = (data: Data): Render => {
  const rows = dictionaryRowsOf(data);
  const chunks = rows.chunks.map(renderJson);
  return (row) => {
    const index = rows.indexOf(row);
    const chunk = rows.chunkOf(index);
    return chunks[chunk]!(index - rows.firstOf[chunk]!);
  };
};

/** Where the elements of a list row lie in its child. */
const listRange = (data: Data, child: Data): ((row: number) => readonly [number, number]) => {
  if (data.typeId === Type.FixedSizeList) {
    const size = data.stride;
    if (child.length < data.length * size) throw badLayout('a fixed-size list is too short');
    return (row) => [row * size, (row + 1) * size];
  }
  const offsets = offsetsOf(data, child.length);
  return (row) => [offsets[row]!, offsets[row + 1]!];
};

const renderList = (data: Data): Render => {
  const child = data.children[0]!;
  const range = listRange(data, child);
  const element = renderJson(child);
  return (row) => {
    const [first, last] = range(row);
    const elements: string[] = [];
    for (let index = first; index < last; index++) elements.push(element(index));
    return `[${elements.join(',')}]`;
  };
};

const renderStruct = (data: Data): Render => {
  const fields = data.type.children.map((field, index) => ({
    name: JSON.stringify(field.name),
    render: renderJson(data.children[index]!),
  }));
  return (row) => `{${fields.map(({ name, render }) => `${name}:${render(row)}`).join(',')}}`;
};

/** A map's entries are one struct of key and value; JSON has only strings for keys. */
const renderMap = (data: Data): Render => {
  const entries = data.children[0]!;
  const range = listRange(data, entries);
  const key = renderJson(entries.children[0]!);
  const value = renderJson(entries.children[1]!);
  const keyText = (index: number): string => {
    const rendered = key(index);
    return rendered.startsWith('"') ? rendered : JSON.stringify(rendered);
  };
  return (row) => {
    const [first, last] = range(row);
    const members: string[] = [];
    for (let index = first; index < last; index++) members.push(`${keyText(index)}:${value(index)}`);
    return `{${members.join(',')}}`;
  };
};

const renderBool = (data: Data): Render => {
  const bits = bitsOf(data);
  return (row) => String(bitAt(bits, data.offset + row));
};

const RENDERERS: Readonly<Partial<Record<Type, (data: Data) => Render>>> = {
  [Type.Null]: () => () => 'null',
  [Type.Bool]: renderBool,
  [Type.Int]: renderInt,
  [Type.Float]: renderFloats,
  [Type.Decimal]: renderDecimal,
  [Type.Utf8]: (data) => renderBytes(data, true),
  [Type.LargeUtf8]: (data) => renderBytes(data, true),
  [Type.Utf8View]: (data) => renderBytes(data, true),
  [Type.Binary]: (data) => renderBytes(data, false),
  [Type.LargeBinary]: (data) => renderBytes(data, false),
  [Type.BinaryView]: (data) => renderBytes(data, false),
  [Type.FixedSizeBinary]: (data) => renderBytes(data, false),
  [Type.Date]: renderDate,
  [Type.Time]: renderTime,
  [Type.Timestamp]: renderTimestamp,
  [Type.Duration]: renderDuration,
  [Type.Interval]: renderInterval,
  [Type.List]: renderList,
  [Type.LargeList]: renderList,
  [Type.FixedSizeList]: renderList,
  [Type.Struct]: renderStruct,
  [Type.Map]: renderMap,
  [Type.Dictionary]: renderDictionary,
};

/** The JSON of a column, by row; `null` for a null. The type must be one of the type table. */
export const renderJson = (data: Data): Render => {
  const isNull = nullTest(data);
  const render = RENDERERS[data.typeId]!(data);
  return (row) => (isNull(row) ? 'null' : render(row));
};

const JSONB_VERSION = 1;
const LENGTH_BYTES = 4;

/** List, struct or map → jsonb. */
export const writeJsonb = (data: Data): ColumnWriter => {
  const render = renderJson(data);
  // How long a row is, is known only once it is rendered: `bound` renders and `write` uses what it made.
  let firstRendered = 0;
  let rendered: readonly Buffer[] = [];
  const renderRows = (first: number, last: number): void => {
    if (first >= firstRendered && last <= firstRendered + rendered.length) return;
    firstRendered = first;
    rendered = Array.from({ length: last - first }, (_, index) => {
      try {
        return Buffer.from(render(first + index));
      } catch (thrown) {
        throw located(thrown, { row: first + index });
      }
    });
  };
  return {
    bound(first, last) {
      renderRows(first, last);
      let bytes = (last - first) * (LENGTH_BYTES + 1);
      for (let row = first; row < last; row++) bytes += rendered[row - firstRendered]!.length;
      return bytes;
    },
    write(row, out, view, pos) {
      renderRows(row, row + 1);
      const text = rendered[row - firstRendered]!;
      requireFieldLength(text.length);
      view.setInt32(pos, text.length + 1);
      out[pos + LENGTH_BYTES] = JSONB_VERSION;
      out.set(text, pos + LENGTH_BYTES + 1);
      return pos + LENGTH_BYTES + 1 + text.length;
    },
  };
};
