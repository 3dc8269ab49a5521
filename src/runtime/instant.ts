/** Instants as PostgreSQL counts them: microseconds since 2000-01-01 UTC, exact where a JavaScript Date is not. */

/** Microseconds between 1970-01-01 and 2000-01-01 UTC. */
const POSTGRES_EPOCH_US = 946_684_800_000_000;

/** Microseconds of a week. */
const WEEK_US = 604_800_000_000;

/** 2000-01-02 00:00 UTC, a Sunday. */
const FIRST_SUNDAY_US = 86_400_000_000;

/** ISO text with microseconds and zone, for a `timestamptz` parameter. */
export const instantText = (micros: number): string => {
  const milliseconds = Math.floor((micros + POSTGRES_EPOCH_US) / 1000);
  const rest = micros + POSTGRES_EPOCH_US - milliseconds * 1000;
  return `${new Date(milliseconds).toISOString().slice(0, -1)}${String(rest).padStart(3, '0')}Z`;
};

/** A Date as microseconds since 2000-01-01 UTC. */
export const instantOf = (date: Date): number => date.getTime() * 1000 - POSTGRES_EPOCH_US;

/** Number of the week (Sunday to Sunday, UTC) that holds the instant; week 0 starts on 2000-01-02. */
export const weekOf = (micros: number): number => Math.floor((micros - FIRST_SUNDAY_US) / WEEK_US);

/** The first instant of a week. */
export const weekStart = (week: number): number => week * WEEK_US + FIRST_SUNDAY_US;
