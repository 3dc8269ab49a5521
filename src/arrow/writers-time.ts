/** Field writers for dates, times, timestamps and intervals; PostgreSQL counts microseconds from 2000-01-01. */
import type { Data, Duration, Interval } from 'apache-arrow';
import { IntervalUnit, TimeUnit } from 'apache-arrow';
import { numbersOf, wordsOf } from './column.ts';
import { badValue } from './faults.ts';
import type { ColumnWriter } from './writer.ts';
import { fixedWidth } from './writer.ts';
import { int64Of, putBigint } from './writers-number.ts';

const TWO_32 = 0x1_0000_0000;

const DAY_SECONDS = 86_400;
const DAY_MICROS = 86_400_000_000;

/** Days from 1970-01-01 to 2000-01-01. */
const EPOCH_DAYS = 10_957;

/** PostgreSQL's dates: 4714-11-24 BC … 5874897-12-31, in days from 2000-01-01. */
const FIRST_DATE = -2_451_545;
const LAST_DATE = 2_145_031_948;

/** The two words of a 64-bit constant. */
const wordsOfConstant = (value: bigint): { readonly high: number; readonly low: number } => ({
  high: Number(value >> 32n),
  low: Number(value & 0xffff_ffffn),
});

/** What lies between the epochs, in microseconds. */
const EPOCH = wordsOfConstant(946_684_800_000_000n);

/** PostgreSQL's timestamps: 4714-11-24 BC up to, not including, 294277-01-01, in microseconds from 2000-01-01. */
const FIRST_TIMESTAMP = wordsOfConstant(-211_813_488_000_000_000n);
const END_TIMESTAMP = wordsOfConstant(9_223_371_331_200_000_000n);

/** What an Arrow unit is multiplied by, or, for nanoseconds, divided by, to make microseconds. */
const SCALE: Readonly<Record<TimeUnit, number>> = {
  [TimeUnit.SECOND]: 1_000_000,
  [TimeUnit.MILLISECOND]: 1000,
  [TimeUnit.MICROSECOND]: 1,
  [TimeUnit.NANOSECOND]: 1 / 1000,
};

const notHeld = (what: string, value: string): Error =>
  badValue(
    `${what} out of PostgreSQL's range`,
    value,
    'Filter the row out, or cast the column in the query.',
  );

// Results of the 64-bit steps below; module state, because a function can return only one number.
let high = 0;
let low = 0;

/**
 * Leaves ⌊words / divisor⌋ in `high` and `low`; the divisor is at most 2^20, so that doubles are exact. It rounds toward
 * −infinity: the moment before midnight must not move into the next day.
 */
const floorDivide = (wordHigh: number, wordLow: number, divisor: number): void => {
  high = Math.floor(wordHigh / divisor);
  low = Math.floor(((wordHigh - high * divisor) * TWO_32 + (wordLow >>> 0)) / divisor);
};

/** Leaves words × unit in `high` and `low`, both exact; `high` may be beyond 32 bits. */
const toMicros = (wordHigh: number, wordLow: number, unit: TimeUnit): void => {
  const scale = SCALE[unit];
  if (scale < 1) return floorDivide(wordHigh, wordLow, 1000);
  // At most 2^32 · 10^6 < 2^52: doubles hold it.
  const product = (wordLow >>> 0) * scale;
  low = product >>> 0;
  high = wordHigh * scale + Math.floor(product / TWO_32);
};

const timeUnitOf = (data: Data): TimeUnit => (data.type as Duration).unit;

/** Moves `high` and `low` from the Unix epoch to PostgreSQL's; false when PostgreSQL has no such timestamp. */
const toPostgresEpoch = (): boolean => {
  const difference = low - EPOCH.low;
  low = difference >>> 0;
  high -= EPOCH.high + (difference < 0 ? 1 : 0);
  return (
    (high > FIRST_TIMESTAMP.high || (high === FIRST_TIMESTAMP.high && low >= FIRST_TIMESTAMP.low)) &&
    (high < END_TIMESTAMP.high || (high === END_TIMESTAMP.high && low < END_TIMESTAMP.low))
  );
};

/** The row's raw 64-bit value and its unit, for error messages: `-5 ns`. */
const shownTime = (words: Int32Array, row: number, unit: TimeUnit): string =>
  `${int64Of(words[2 * row + 1]!, words[2 * row]!, true)} ${['s', 'ms', 'µs', 'ns'][unit]}`;

/** Timestamp → timestamp or timestamptz: the same count of microseconds; Arrow's zone is only for show. */
export const writeTimestamp = (data: Data): ColumnWriter => {
  const words = wordsOf(data, 2);
  const unit = timeUnitOf(data);
  return fixedWidth(12, (row, _out, view, pos) => {
    toMicros(words[2 * row + 1]!, words[2 * row]!, unit);
    if (!toPostgresEpoch()) throw notHeld('timestamp', shownTime(words, row, unit));
    return putBigint(high, low, view, pos);
  });
};

/**
 * Reads a timestamp column as microseconds since 2000-01-01 UTC, by row.
 * They are exact: a moment outside 1714 … 2285, beyond safe integers, is a data error.
 */
export const microsReader = (data: Data): ((row: number) => number) => {
  const words = wordsOf(data, 2);
  const unit = timeUnitOf(data);
  return (row) => {
    toMicros(words[2 * row + 1]!, words[2 * row]!, unit);
    const held = toPostgresEpoch();
    const micros = high * TWO_32 + low;
    if (!held || !Number.isSafeInteger(micros)) throw notHeld('timestamp', shownTime(words, row, unit));
    return micros;
  };
};

const putDate = (days: number, view: DataView, pos: number): number => {
  const date = days - EPOCH_DAYS;
  if (!(date >= FIRST_DATE && date <= LAST_DATE)) throw notHeld('date', `${days} days since 1970-01-01`);
  view.setInt32(pos, 4);
  view.setInt32(pos + 4, date);
  return pos + 8;
};

/** Date32 → date. */
export const writeDate32 = (data: Data): ColumnWriter => {
  const days = numbersOf(data);
  return fixedWidth(8, (row, _out, view, pos) => putDate(days[row]!, view, pos));
};

/** Date64, milliseconds, → date; what is not a whole day floors. */
export const writeDate64 = (data: Data): ColumnWriter => {
  const words = wordsOf(data, 2);
  return fixedWidth(8, (row, _out, view, pos) => {
    // The last dates are beyond 2^53 ms, so in two exact steps: to seconds, to days.
    floorDivide(words[2 * row + 1]!, words[2 * row]!, 1000);
    floorDivide(high, low, DAY_SECONDS);
    return putDate(high * TWO_32 + low, view, pos);
  });
};

const putTime = (micros: number, view: DataView, pos: number): number => {
  if (!(micros >= 0 && micros <= DAY_MICROS)) throw notHeld('time of day', `${micros} µs`);
  return putBigint(Math.floor(micros / TWO_32), micros, view, pos);
};

/** Time32, seconds or milliseconds, → time. 24:00:00 is a time in PostgreSQL, too. */
export const writeTime32 = (data: Data): ColumnWriter => {
  const values = numbersOf(data);
  const scale = SCALE[timeUnitOf(data)];
  return fixedWidth(12, (row, _out, view, pos) => putTime(values[row]! * scale, view, pos));
};

/** Time64, microseconds or nanoseconds, → time. */
export const writeTime64 = (data: Data): ColumnWriter => {
  const words = wordsOf(data, 2);
  const unit = timeUnitOf(data);
  return fixedWidth(12, (row, _out, view, pos) => {
    toMicros(words[2 * row + 1]!, words[2 * row]!, unit);
    return putTime(high * TWO_32 + low, view, pos);
  });
};

const putInterval = (
  months: number,
  days: number,
  microsHigh: number,
  microsLow: number,
  view: DataView,
  pos: number,
): number => {
  view.setInt32(pos, 16);
  view.setInt32(pos + 4, microsHigh);
  view.setInt32(pos + 8, microsLow);
  view.setInt32(pos + 12, days);
  view.setInt32(pos + 16, months);
  return pos + 20;
};

/** Duration → interval of microseconds alone. */
export const writeDuration = (data: Data): ColumnWriter => {
  const words = wordsOf(data, 2);
  const unit = timeUnitOf(data);
  return fixedWidth(20, (row, _out, view, pos) => {
    toMicros(words[2 * row + 1]!, words[2 * row]!, unit);
    if (high !== (high | 0)) throw notHeld('duration', shownTime(words, row, unit));
    return putInterval(0, 0, high, low, view, pos);
  });
};

/** Interval of months, of days and milliseconds, or of months, days and nanoseconds → interval. */
export const writeInterval = (data: Data): ColumnWriter => {
  const words = data.stride === 4 ? wordsOf(data, 4) : (numbersOf(data) as Int32Array);
  switch ((data.type as Interval).unit) {
    case IntervalUnit.YEAR_MONTH:
      return fixedWidth(20, (row, _out, view, pos) => putInterval(words[row]!, 0, 0, 0, view, pos));
    case IntervalUnit.DAY_TIME:
      return fixedWidth(20, (row, _out, view, pos) => {
        const micros = words[2 * row + 1]! * 1000;
        return putInterval(0, words[2 * row]!, Math.floor(micros / TWO_32), micros, view, pos);
      });
    default:
      return fixedWidth(20, (row, _out, view, pos) => {
        toMicros(words[4 * row + 3]!, words[4 * row + 2]!, TimeUnit.NANOSECOND);
        return putInterval(words[4 * row]!, words[4 * row + 1]!, high, low, view, pos);
      });
  }
};
