/** Keeps `strata.stream_health` up to date for the streams of this process: seldom, on a connection of its own, in nobody's way. */
import { hostname } from 'node:os';
import { openSessions, type DatabaseAddress, type SessionGroup } from '../db/sessions.ts';
import { later, type Clock } from '../runtime/resilience.ts';
import { writeHealth, type StreamHealth } from '../warehouse/stream-health.ts';

/** Takes what streams say of themselves. */
export interface HealthLog {
  /** Written soon, together with what else has changed by then; never waits, never fails. */
  readonly note: (health: StreamHealth) => void;
  /** Writes what is not written yet and lets go of the database. */
  readonly close: () => Promise<void>;
}

/** A log that nobody reads. */
export const noHealthLog: HealthLog = { note: () => undefined, close: () => Promise.resolve() };

/** Least time between two writes, in milliseconds. */
const WRITE_EVERY_MS = 2000;

/** A database that has not taken a write within this time is asked over a new connection next time. */
const WRITE_LIMIT_MS = 10_000;

/**
 * A log into the database.
 *
 * @param address where the database is now; asked before each connection
 */
export const createHealthLog = (
  address: () => DatabaseAddress,
  clock: Clock,
  redact: (text: string) => string,
): HealthLog => {
  const reporter = { host: hostname(), pid: process.pid };
  const waiting = new Map<string, StreamHealth>();
  const closing = new AbortController();
  let group: SessionGroup | null = null;
  let writing: Promise<void> | null = null;

  const writeNow = async (): Promise<void> => {
    const streams = [...waiting.values()];
    if (streams.length === 0) return;
    waiting.clear();
    const used = (group ??= openSessions(address(), 'pgstrata health', 1));
    const written = new AbortController();
    // Whatever is wrong with the database, the streams themselves find out and say so; this only must not hang.
    const hangUp = (): void => {
      used.cut();
      group = null;
    };
    void later(clock, WRITE_LIMIT_MS, written.signal, hangUp);
    await writeHealth(used.pool, reporter, streams).catch(() => {
      hangUp();
      for (const health of streams) if (!waiting.has(health.stream)) waiting.set(health.stream, health);
    });
    written.abort();
  };
  const writeSoon = (): void => {
    writing ??= (async () => {
      await writeNow();
      await clock.sleep(WRITE_EVERY_MS, closing.signal);
      writing = null;
      if (waiting.size > 0 && !closing.signal.aborted) writeSoon();
    })();
  };
  return {
    note: (health) => {
      const { last_error } = health;
      const clean = last_error && { ...last_error, message: redact(last_error.message) };
      waiting.set(health.stream, { ...health, last_error: clean });
      if (!closing.signal.aborted) writeSoon();
    },
    close: async () => {
      closing.abort();
      await writing;
      await writeNow();
      await group?.end();
    },
  };
};
