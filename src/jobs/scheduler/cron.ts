/** Due times of cron expressions, in UTC: which was the last one, which is the next. node-cron knows what matches; this only looks. */
import cron from 'node-cron';
import { messageOf } from '../../runtime/errors.ts';

/** `29 2` on a leap day comes after eight years at most (1896–1904, 2096–2104). */
const DAYS_MAX = 366 * 9;

const DAY_MS = 86_400_000;

/**
 * What is wrong with an expression, for a person; null when nothing is.
 *
 * @example cronFault('0 25 * * *') // '25 is a invalid expression for hour'
 */
export const cronFault = (expression: string): string | null => {
  try {
    const { valid, errors } = cron.validateDetailed(expression);
    return valid ? null : errors.map(({ message }) => message).join(', ') || 'is no cron expression';
  } catch (thrown) {
    return messageOf(thrown);
  }
};

/** The last due time at or before the instant; null when there was none in nine years. */
export const previousDue = (expression: string, instant: Date): Date | null => seek(expression, instant, -1);

/** The first due time behind the instant; null when there is none in nine years. */
export const nextDue = (expression: string, instant: Date): Date | null =>
  seek(expression, new Date(instant.getTime() + 1), 1);

/** Days one by one, for a day matches or not by rules of its own; within a matching day the times are a plain list. */
const seek = (expression: string, instant: Date, direction: 1 | -1): Date | null => {
  const task = cron.createTask(expression, () => undefined, { timezone: 'UTC' });
  try {
    const times = timesOfDay(expression);
    const ordered = direction === 1 ? times : times.toReversed();
    const today = Math.floor(instant.getTime() / DAY_MS) * DAY_MS;
    for (let day = 0; day <= DAYS_MAX; day++) {
      const midnight = today + direction * day * DAY_MS;
      if (!task.match(new Date(midnight + times[0]!))) continue;
      const found = ordered.find((time) => direction * (midnight + time - instant.getTime()) >= 0);
      if (found !== undefined) return new Date(midnight + found);
    }
    return null;
  } finally {
    void task.destroy();
  }
};

/** The times of a day in milliseconds, ascending. */
const timesOfDay = (expression: string): number[] => {
  const { hour, minute, second } = cron.parse(expression);
  return hour
    .flatMap((h) => minute.flatMap((m) => second.map((s) => ((h * 60 + m) * 60 + s) * 1000)))
    .toSorted((a, b) => a - b);
};
