/** Kinds of columns for the round trip: dates, times, timestamps, durations and intervals. */
import type {
  DurationMicrosecond,
  DurationMillisecond,
  DurationNanosecond,
  DurationSecond,
  TimeMicrosecond,
  TimeMillisecond,
  TimeNanosecond,
  TimeSecond,
  TimestampMicrosecond,
  TimestampMillisecond,
  TimestampNanosecond,
  TimestampSecond,
} from 'apache-arrow';
import { Data, DateDay, DateMillisecond, IntervalMonthDayNano } from 'apache-arrow';
import fc from 'fast-check';

import { bigintData, boolData, numberData } from './columns.ts';
import { kind, type Kind } from './kind.ts';

/** Floors a count of units to microseconds. */
const micros = (value: bigint, perSecond: bigint): bigint => {
  if (perSecond <= 1_000_000n) return value * (1_000_000n / perSecond);
  const divisor = perSecond / 1_000_000n;
  return (value - (((value % divisor) + divisor) % divisor)) / divisor;
};

const FIRST_MICROS = -210_866_803_200_000_000n;
// PostgreSQL holds 2 % more, but its extract(epoch …) loses digits there; copy.test.ts has the last value.
const LAST_MICROS = 9_000_000_000_000_000_000n;

/** From the first to about the last timestamp that both PostgreSQL and 64 bits of the unit hold. */
export const timestamps = (
  type: TimestampSecond | TimestampMillisecond | TimestampMicrosecond | TimestampNanosecond,
  perSecond: bigint,
): Kind<unknown> => {
  const inUnits = (value: bigint): bigint => (value * perSecond) / 1_000_000n;
  const clamp = (value: bigint): bigint =>
    BigInt.asIntN(64, value) === value ? value : value < 0n ? -(2n ** 63n) : 2n ** 63n - 1n;
  const around = [0n, 946_684_800n, 1_767_484_800n, 1_711_846_800n].map((second) => second * perSecond);
  return kind<bigint>({
    pgType: type.timezone ? 'timestamptz' : 'timestamp',
    draw: fc.oneof(
      fc.bigInt({ min: clamp(inUnits(FIRST_MICROS)), max: clamp(inUnits(LAST_MICROS)) }),
      // Around 1970, 2000, a week's edge and a daylight-saving change, by a few units.
      fc
        .tuple(fc.constantFrom(...around), fc.bigInt({ min: -1001n, max: 1001n }))
        .map(([base, step]) => base + step),
    ),
    lay: (values) => bigintData(type, values),
    show: 'trunc(extract(epoch from v) * 1000000)::text',
    expect: (value) => String(micros(value, perSecond)),
  });
};

export const times = (
  type: TimeSecond | TimeMillisecond | TimeMicrosecond | TimeNanosecond,
  perSecond: bigint,
): Kind<unknown> =>
  kind<bigint>({
    pgType: 'time',
    draw: fc.bigInt({ min: 0n, max: 86_400n * perSecond }),
    lay: (values) =>
      type.bitWidth === 64
        ? bigintData(type, values)
        : numberData(
            type,
            values.map((value) => (value === null ? null : Number(value))),
          ),
    show: 'trunc(extract(epoch from v) * 1000000)::text',
    expect: (value) => String(micros(value, perSecond)),
  });

/** An interval as PostgreSQL sends it: int64 µs, int32 days, int32 months. */
const intervalHex = (value: bigint, days: number, months: number): string => {
  const bytes = Buffer.alloc(16);
  bytes.writeBigInt64BE(value);
  bytes.writeInt32BE(days, 8);
  bytes.writeInt32BE(months, 12);
  return bytes.toString('hex');
};

export const durations = (
  type: DurationSecond | DurationMillisecond | DurationMicrosecond | DurationNanosecond,
  perSecond: bigint,
): Kind<unknown> => {
  const limit = perSecond >= 1_000_000n ? 2n ** 62n : (2n ** 62n * perSecond) / 1_000_000n;
  return kind<bigint>({
    pgType: 'interval',
    draw: fc.bigInt({ min: -limit, max: limit }),
    lay: (values) => bigintData(type, values),
    show: "encode(interval_send(v), 'hex')",
    expect: (value) => intervalHex(micros(value, perSecond), 0, 0),
  });
};

type Interval = readonly [months: number, days: number, nanos: bigint];

export const intervals = kind<Interval>({
  pgType: 'interval',
  draw: fc.tuple(
    fc.integer({ min: -99_999, max: 99_999 }),
    fc.integer({ min: -99_999, max: 99_999 }),
    fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  ),
  lay: (values) => {
    const data = new DataView(new ArrayBuffer(16 * values.length));
    for (const [row, value] of values.entries()) {
      const [months, days, nanos] = value ?? [1, 1, 1n];
      data.setInt32(16 * row, months, true);
      data.setInt32(16 * row + 4, days, true);
      data.setBigInt64(16 * row + 8, nanos, true);
    }
    const bitmap = boolData(values.map((value) => value !== null)).values as Uint8Array;
    return new Data(new IntervalMonthDayNano(), 0, values.length, -1, [
      undefined,
      new Int32Array(data.buffer),
      bitmap,
    ] as never);
  },
  show: "encode(interval_send(v), 'hex')",
  expect: ([months, days, nanos]) => intervalHex(micros(nanos, 1_000_000_000n), days, months),
});

export const dates = kind<number>({
  pgType: 'date',
  draw: fc.integer({ min: -2_440_588, max: 2_145_042_905 }),
  lay: (values) => numberData(new DateDay(), values),
  show: "(v - date '1970-01-01')::text",
  expect: String,
});

const floorDays = (milliseconds: bigint): bigint => {
  const day = 86_400_000n;
  return (milliseconds - (((milliseconds % day) + day) % day)) / day;
};

export const dates64 = kind<bigint>({
  pgType: 'date',
  draw: fc.bigInt({ min: -2_440_588n * 86_400_000n, max: 2_145_042_905n * 86_400_000n }),
  lay: (values) => bigintData(new DateMillisecond(), values),
  show: "(v - date '1970-01-01')::text",
  expect: (value) => String(floorDays(value)),
});
