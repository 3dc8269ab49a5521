/** A bounded view of a pool: waits for its turn however long that takes, and gets it back after every kind of end. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { boundedPool } from '../../src/db/bounded.ts';
import { createPool, withClient } from '../../src/db/pool.ts';
import type { Pool } from '../../src/db/query.ts';
import { useDatabase } from '../database.ts';
import { until } from './until.ts';

const database = useDatabase();
let pool: Pool;
let view: Pool;

beforeAll(() => {
  // A wait for a connection of the pool itself would fail at once.
  pool = createPool(database.url, { max: 4, connectLimitMs: 500 });
  view = boundedPool(pool, 2);
});
afterAll(async () => {
  await pool.end();
});

test('no more connections than its share, whichever way they are borrowed', async () => {
  let most = 0;
  const note = (): void => {
    most = Math.max(most, pool.totalCount - pool.idleCount);
  };
  const work = Array.from({ length: 12 }, (_, index) =>
    index % 2 === 0
      ? view.query('select pg_sleep(0.02)').then(note)
      : withClient(view, async (client) => {
          note();
          await client.query('select pg_sleep(0.02)');
        }),
  );
  await Promise.all(work);
  expect(most).toBeGreaterThan(0);
  expect(most).toBeLessThanOrEqual(2);
});

test('a turn comes back after a failed statement, and after a connection that broke', async () => {
  for (let round = 0; round < 3; round++) {
    await expect(view.query('select 1 / 0')).rejects.toThrow(/division by zero/);
    await expect(
      withClient(view, (client) => client.query('select pg_terminate_backend(pg_backend_pid())')),
    ).rejects.toThrow();
  }
  const both = await Promise.all([view.connect(), view.connect()]);
  let third = false;
  const waiting = view.query('select 1').then(() => (third = true));
  // The pool has connections left: what is waited for is a turn.
  await pool.query('select 1');
  expect(third).toBe(false);
  for (const client of both) client.release();
  await waiting;
  expect(third).toBe(true);
});

test('a turn comes back when no connection is to be had', async () => {
  const taken = await Promise.all(Array.from({ length: 4 }, () => pool.connect()));
  await expect(view.query('select 1')).rejects.toThrow(/timeout/);
  await expect(view.connect()).rejects.toThrow(/timeout/);
  for (const client of taken) client.release();
  await until(
    'both turns',
    async () => (await Promise.all([view.query('select 1'), view.query('select 1')])).length === 2,
  );
});

test('however many views there are, one listener counts for all of them', async () => {
  const listeners = pool.listenerCount('release');
  const views = Array.from({ length: 20 }, () => boundedPool(pool, 1));
  await Promise.all(views.flatMap((one) => [one.query('select 1'), one.query('select 2')]));
  expect(pool.listenerCount('release')).toBe(listeners);
});
