/** What streams say of themselves in the database: who may write over whom, and that it is in nobody's way. */
import { describe, expect, test } from 'vitest';
import { createChain } from '../../src/devnet/chain.ts';
import { startDevnet } from '../../src/devnet/server.ts';
import { createHealthLog, type HealthLog } from '../../src/jobs/health.ts';
import { addCommit, NO_WORK } from '../../src/jobs/tally.ts';
import { systemClock } from '../../src/runtime/resilience.ts';
import { TIME_EDGES_SECONDS, writeHealth } from '../../src/warehouse/stream-health.ts';
import type { StreamHealth } from '../../src/warehouse/stream-health.ts';
import type { Committed } from '../../src/warehouse/batches.ts';
import { readStatus, type StreamStatus } from '../../src/warehouse/status.ts';
import { useDatabase } from '../database.ts';
import { until } from '../db/until.ts';
import { TRANSFERS } from './loading.ts';
import { fastClock, supervise } from './supervised.ts';

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

test('a stream tells what its work cost, and which reorgs it met; a process that met none does not hide them', async () => {
  const chain = createChain({ blocks: 30, accounts: 8, tokens: 2, transfersPerBlock: 3 });
  const devnet = await startDevnet({ chain });
  /** What status says when a process has loaded the stream to its end. */
  const after = async (run: (health: HealthLog) => Promise<unknown>): Promise<StreamStatus | undefined> => {
    const health = createHealthLog(() => ({ url: database.url, options: {} }), systemClock, String);
    await run(health);
    await health.close();
    return (await readStatus(database.pool)).streams.find(({ stream }) => stream === 'worked');
  };
  const request = { url: database.url, server: devnet.url, stream: 'worked', settings: TRANSFERS };
  const reorgs = [{ network: 'devnet', from: 25, rows: expect.any(Number), at: expect.any(String) }];
  try {
    const first = await after(async (health) => {
      const following = supervise({ ...request, health });
      await until('the head', () => following.committed() === 29);
      chain.reorg(5, 7);
      await until('the new head', () => following.committed() === 31);
      await following.stop();
    });
    expect(first?.reorgs).toEqual(reorgs);
    expect(first?.work).toMatchObject({ reorgs: 1, commits: expect.any(Number) });
    expect(first?.work?.rows).toBe((first?.rows ?? 0) + (first?.reorgs[0]?.rows ?? 0));
    for (const part of ['bytes', 'copy_seconds', 'fold_seconds', 'commit_seconds'] as const)
      expect(first?.work?.[part], part).toBeGreaterThan(0);
    const second = await after((health) => supervise({ ...request, health, follow: false }).result);
    expect(second).toMatchObject({ reorgs, work: { rows: 0, commits: 0, reorgs: 0 } });
  } finally {
    await devnet.stop();
  }
});

/** Two transactions, both in one class of times. */
const timesWith = (place: number): number[] =>
  Array.from({ length: TIME_EDGES_SECONDS.length + 1 }, (_, at) => (at === place ? 2 : 0));

test('the work of a process is summed up over its commits', () => {
  const commit = (rows: number): Committed => ({
    ranges: [],
    rows,
    quarantined: 0,
    unmatched: null,
    dropped: 0,
    cost: { bytes: 100, copy_ms: 500, fold_ms: 250, commit_ms: 125 },
  });
  expect(addCommit(addCommit(NO_WORK, commit(3)), commit(4))).toEqual({
    rows: 7,
    batches: 0,
    commits: 2,
    bytes: 200,
    copy_seconds: 1,
    fold_seconds: 0.5,
    commit_seconds: 0.25,
    copy_times: timesWith(7),
    fold_times: timesWith(6),
    commit_times: timesWith(6),
    reorgs: 0,
  });
});
