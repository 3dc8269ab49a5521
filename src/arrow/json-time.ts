/** Dates, times and durations of Arrow as ISO 8601 text, with every digit the unit has. */
import { TimeUnit } from 'apache-arrow';
import { badValue } from './faults.ts';

/** Decimal places of a second that a unit counts. */
const PLACES: Readonly<Record<TimeUnit, number>> = {
  [TimeUnit.SECOND]: 0,
  [TimeUnit.MILLISECOND]: 3,
  [TimeUnit.MICROSECOND]: 6,
  [TimeUnit.NANOSECOND]: 9,
};

/** Dates that JavaScript can name end here, in seconds on either side of 1970. */
const MAX_SECONDS = 8_640_000_000_000n;

const DAY_SECONDS = 86_400n;

interface Split {
  readonly seconds: bigint;
  /** `.123` for milliseconds, nothing for seconds. */
  readonly fraction: string;
}

/** Whole seconds, rounded down, and the rest as text. */
const split = (value: bigint, unit: TimeUnit): Split => {
  const places = PLACES[unit];
  const perSecond = 10n ** BigInt(places);
  const rest = ((value % perSecond) + perSecond) % perSecond;
  return {
    seconds: (value - rest) / perSecond,
    fraction: places === 0 ? '' : `.${String(rest).padStart(places, '0')}`,
  };
};

/** `2026-01-04T00:00:00` of seconds since 1970. */
const isoSeconds = (seconds: bigint): string => {
  if (seconds < -MAX_SECONDS || seconds > MAX_SECONDS)
    throw badValue('timestamp out of range', `${seconds} s`, 'Filter the row out, or cast it in the query.');
  return new Date(Number(seconds) * 1000).toISOString().slice(0, -'.000Z'.length);
};

/** A timestamp: `2026-01-04T00:00:00.123456`, with a `Z` when the column has a zone. */
export const isoTimestamp = (value: bigint, unit: TimeUnit, zoned: boolean): string => {
  const { seconds, fraction } = split(value, unit);
  return `${isoSeconds(seconds)}${fraction}${zoned ? 'Z' : ''}`;
};

/** A date: `2026-01-04`. */
export const isoDate = (days: number): string => {
  const iso = isoSeconds(BigInt(days) * DAY_SECONDS);
  return iso.slice(0, iso.indexOf('T'));
};

const twoDigits = (part: bigint): string => String(part).padStart(2, '0');

/** A time of day: `23:59:59.123`. */
export const isoTime = (value: bigint, unit: TimeUnit): string => {
  const { seconds, fraction } = split(value, unit);
  if (seconds < 0n || seconds > DAY_SECONDS)
    throw badValue(
      'time of day out of range',
      `${seconds} s`,
      'Filter the row out, or cast it in the query.',
    );
  return `${twoDigits(seconds / 3600n)}:${twoDigits((seconds / 60n) % 60n)}:${twoDigits(seconds % 60n)}${fraction}`;
};

/** The seconds of a duration: `-1.500`. */
const secondsText = (value: bigint, unit: TimeUnit): string => {
  const { seconds, fraction } = split(value < 0n ? -value : value, unit);
  return `${value < 0n ? '-' : ''}${seconds}${fraction}`;
};

/** A duration: `PT1.500S`. */
export const isoDuration = (value: bigint, unit: TimeUnit): string => `PT${secondsText(value, unit)}S`;

/** An interval: `P1M2DT3.000000004S`. */
export const isoInterval = (months: number, days: number, value: bigint, unit: TimeUnit): string =>
  `P${months}M${days}DT${secondsText(value, unit)}S`;
