/** What streams say of themselves in the database: who may write over whom, and that it is in nobody's way. */
import { describe, expect, test } from 'vitest';
import { createHealthLog } from '../../src/jobs/health.ts';
import { NO_WORK } from '../../src/jobs/tally.ts';
import { systemClock } from '../../src/runtime/resilience.ts';
import { writeHealth } from '../../src/warehouse/stream-health.ts';
import type { StreamHealth } from '../../src/warehouse/stream-health.ts';
import { useDatabase } from '../database.ts';
import { fastClock } from './supervised.ts';

const database = useDatabase();

const healthOf = (stream: string, change: Partial<StreamHealth> = {}): StreamHealth => ({
  stream,
  state: 'running',
  failures: 0,
  retries: 0,
  next_try_at: null,
  last_error: null,
  breaker: 'closed',
  rate_delay_ms: 0,
  heads: {},
  catch_up: null,
  started_at: '2026-01-05T00:00:00.000Z',
  work: NO_WORK,
  reorgs: [],
  ...change,
});

const stored = async (stream: string): Promise<unknown> => {
  const { rows } = await database.pool.query(
    `select state, host, pid, heads, retries from strata.stream_health where stream = $1`,
    [stream],
  );
  return rows[0];
};

const A = { host: 'a', pid: 1 };
const B = { host: 'b', pid: 2 };

describe('a process that waits for a stream', () => {
  test('does not write over the one that loads it, as long as that one lives', async () => {
    await writeHealth(database.pool, A, [healthOf('held', { heads: { one: 5 } })]);
    await writeHealth(database.pool, B, [healthOf('held', { state: 'waiting', heads: { two: 6 } })]);
    expect(await stored('held')).toMatchObject({ state: 'running', host: 'a', heads: { one: 5 } });
    await writeHealth(database.pool, A, [healthOf('held', { state: 'waiting', retries: 1 })]);
    expect(await stored('held')).toMatchObject({ state: 'waiting', host: 'a', retries: 1 });
  });

  test('does so when it loads it itself, or the other one has gone', async () => {
    await writeHealth(database.pool, A, [healthOf('left')]);
    await database.pool.query(
      `update strata.stream_health set updated_at = now() - interval '2 minutes' where stream = 'left'`,
    );
    await writeHealth(database.pool, B, [healthOf('left', { state: 'waiting' })]);
    expect(await stored('left')).toMatchObject({ state: 'waiting', host: 'b' });
    await writeHealth(database.pool, A, [healthOf('left', { heads: { one: 7 } })]);
    await writeHealth(database.pool, A, [healthOf('left', { heads: { two: 8 } })]);
    expect(await stored('left')).toMatchObject({ state: 'running', host: 'a', heads: { one: 7, two: 8 } });
  });
});

describe('the log', () => {
  test('writes the newest of each stream, without secrets, at the latest when it is closed', async () => {
    const log = createHealthLog(
      () => ({ url: database.url, options: {} }),
      systemClock,
      (text) => text.replaceAll('5ecr3t', '***'),
    );
    const last_error = {
      kind: 'auth',
      message: 'no entry with 5ecr3t',
      sqlstate: null,
      grpc_status: 'UNAUTHENTICATED',
      remedy: null,
      at: '2026-01-05T00:00:00.000Z',
    };
    for (let retries = 0; retries < 50; retries += 1) {
      log.note(healthOf('first', { retries, last_error }));
      log.note(healthOf('second', { retries }));
    }
    await log.close();
    expect(await stored('first')).toMatchObject({ retries: 49, pid: process.pid });
    expect(await stored('second')).toMatchObject({ retries: 49 });
    const { rows } = await database.pool.query(`select last_error::text as text from strata.stream_health`);
    expect(JSON.stringify(rows)).toContain('no entry with ***');
  });

  test('bears with a database that is not there', async () => {
    const log = createHealthLog(
      () => ({ url: 'postgres://127.0.0.1:1/none', options: {} }),
      fastClock(),
      String,
    );
    log.note(healthOf('nowhere'));
    await log.close();
    expect(await stored('nowhere')).toBeUndefined();
  });
});
