/** One leader among several schedulers, and none without a connection. */
import { describe, expect, it } from 'vitest';
import { createPool } from '../../src/db/pool.ts';
import { WarehouseError } from '../../src/runtime/errors.ts';
import { useDatabase } from '../database.ts';
import { until } from '../db/until.ts';
import { createFakeClock } from './fake-clock.ts';
import { testVerb } from './maintaining.ts';
import { POLL_MS, resting, useSchedulers } from './scheduling.ts';

const database = useDatabase();
const { start, outcomes } = useSchedulers(database);

describe('several processes', () => {
  it('have one leader; another takes over at its next poll when that one stops', async () => {
    const verbs = { optimize: testVerb() };
    const clock = createFakeClock('2026-01-07T12:00:00Z');
    const first = start(clock, verbs);
    await until('three runs', () => verbs.optimize.calls.length === 3);
    const others = [start(clock, verbs), start(clock, verbs)];
    await Promise.all(others.map((other) => other.has('waiting')));
    await resting(clock, 5);
    clock.advance(POLL_MS);
    await resting(clock, 5);
    expect(others.flatMap(({ events }) => events)).toEqual([{ kind: 'waiting' }, { kind: 'waiting' }]);
    await first.stop();
    clock.advance(POLL_MS);
    await until('a new leader', () =>
      others.some(({ events }) => events.some(({ kind }) => kind === 'leading')),
    );
    await resting(clock, 4);
    const leaders = others.filter(({ events }) => events.some(({ kind }) => kind === 'leading'));
    expect(leaders).toHaveLength(1);
    // The journal says that the day is served, whoever served it.
    expect(verbs.optimize.calls.length).toBe(3);
  });
});

describe('a lost connection', () => {
  it('ends leadership and the job in hand at once, and the job is done in the next term', async () => {
    const pool = createPool(database.url, { applicationName: 'the leader' });
    let attempts = 0;
    const optimize = testVerb((_set, _pool, signal) =>
      ++attempts > 1
        ? Promise.resolve()
        : new Promise((_resolve, reject) => {
            signal.addEventListener('abort', () => reject(new WarehouseError('cancelled', 'asked to stop')));
          }),
    );
    const clock = createFakeClock('2026-01-07T12:00:00Z');
    const scheduler = start(clock, { optimize }, { pool });
    await until('the job to run', () => attempts === 1);
    await database.pool.query(
      `select pg_terminate_backend(l.pid) from pg_locks l where l.locktype = 'advisory' and l.granted and l.objsubid = 1
          and (l.classid::bigint << 32 | l.objid::bigint) = strata.advisory_key('schedule')
          and l.database = (select oid from pg_database where datname = current_database())`,
    );
    await scheduler.has('lost');
    expect(await outcomes()).toEqual(['optimize account_balances stopped']);
    clock.advance(POLL_MS);
    await until('the second term', async () => (await outcomes()).includes('optimize account_balances done'));
    expect(scheduler.events.filter(({ kind }) => kind === 'leading')).toHaveLength(2);
    await scheduler.stop();
    await pool.end();
  });

  it('of a database that cannot be reached is tried again', async () => {
    const url = new URL(database.url);
    url.port = '1';
    const pool = createPool(url.toString());
    const clock = createFakeClock('2026-01-07T12:00:00Z');
    const scheduler = start(clock, { optimize: testVerb() }, { pool });
    for (let attempt = 1; attempt <= 3; attempt++) {
      await until(`attempt ${attempt}`, () => scheduler.events.length === attempt);
      await resting(clock, 1);
      clock.advance(POLL_MS);
    }
    expect(scheduler.events[0]).toMatchObject({ kind: 'lost', error: { kind: 'connection' } });
    await scheduler.stop();
    await pool.end();
  });
});
