/** Old weeks stored by column: equal contents, readers unharmed, exact whatever comes late, and taken back. */
import { beforeAll, expect, test } from 'vitest';
import { planMaintenance, runMaintenance, type SetRun } from '../../src/jobs/maintenance.ts';
import { undoWeek } from '../../src/jobs/undo.ts';
import { createPartitionManager } from '../../src/warehouse/partitions/manager.ts';
import { withClient } from '../../src/db/pool.ts';
import { useDatabase } from '../database.ts';
import { until } from '../db/until.ts';
import { blocksOf, DAY, HOUR, move, openStream, valueOf, verified, WEEK } from '../balances/harness.ts';
import { NOW, type Player } from '../balances/play.ts';
import { onCluster } from './cluster.ts';

const FIRST = '2026-01-04T00:00:00Z';

await onCluster('storage by column', () => {
  const database = useDatabase();
  let stream: Player;

  const asked = (weeks?: readonly Date[]): Parameters<typeof planMaintenance>[0] => ({
    pool: database.pool,
    verb: 'consolidate' as const,
    sets: ['balance_changes'],
    now: NOW,
    ...(weeks !== undefined && { weeks }),
  });
  const store = async (weeks?: readonly Date[]): Promise<SetRun> => {
    const [run] = await runMaintenance({
      ...asked(weeks),
      askedBy: 'command',
      signal: new AbortController().signal,
    });
    return run!;
  };
  const kinds = (): Promise<string> =>
    valueOf(
      database.pool,
      `select string_agg(kind, ' ' order by lower_bound) from strata.week_info('balance_changes')`,
    );
  const digest = (): Promise<string> =>
    valueOf(
      database.pool,
      `select string_agg(d.row_count || ' ' || d.hash, ', ' order by w.lower_bound)
         from strata.week_info('balance_changes') w cross join lateral strata.week_digest(w.partition) d`,
    );
  const problems = async (): Promise<number> => (await verified(database.pool)).differences;

  beforeAll(async () => {
    stream = openStream(database.pool, 'columns');
    const blocks = [0n, DAY, WEEK, WEEK + HOUR, 2n * WEEK, 2n * WEEK + DAY].map((at) =>
      [1, 2, 3, 4].map((to) => move(0, to, 10 + to, at)),
    );
    await stream.play(blocksOf(...blocks), 0);
    await database.pool.query(
      `update strata.partition_sets set consolidate_after = '36 days' where set_name = 'balance_changes'`,
    );
  });

  test('a plan says what is due, of which set, and changes nothing', async () => {
    const [planned] = await planMaintenance(asked());
    expect(planned).toMatchObject({
      plan: { steps: [{ week: '2026-01-04T00:00:00.000Z' }, { week: '2026-01-11T00:00:00.000Z' }] },
    });
    const [other] = await planMaintenance({ ...asked(), sets: ['account_balances'] });
    expect(JSON.stringify(other)).toContain('stays stored row by row');
    expect(await kinds()).toBe('sharded sharded sharded');
  });

  test("the library's manager says what a cluster does instead of merging", async () => {
    const manager = createPartitionManager(database.pool, { set: 'balance_changes' });
    await expect(manager.consolidateOldPartitions(0)).rejects.toMatchObject({
      kind: 'config',
      detail: { remedy: expect.stringContaining('planOldWeeks()') },
    });
  });

  test('weeks of age are stored by column with the same content, under a reader', async () => {
    const before = await digest();
    await withClient(database.pool, async (reader) => {
      // A snapshot that lasts holds the exchange up, and sees what it saw.
      await reader.query('begin isolation level repeatable read');
      const count = 'select count(*)::int as n from strata.balance_changes';
      const { rows } = await reader.query(count);
      const storing = store();
      await until('the exchange waits for the reader', async () =>
        valueOf<boolean>(
          database.pool,
          `select exists (select from pg_locks where not granted and relation = 'strata.balance_changes'::regclass)`,
        ),
      );
      expect((await reader.query(count)).rows).toEqual(rows);
      await reader.query('commit');
      expect(await storing).toMatchObject({ outcome: 'done' });
    });
    expect(await kinds()).toBe('columnar columnar sharded');
    expect(await digest()).toBe(before);
    expect(await problems()).toBe(0);
    const journal = await database.pool.query(
      `select step, row_count::int, proof -> 'forward' ->> 'rows' as proven, bytes_after > 0 as sized
         from strata.consolidations order by lower_bound`,
    );
    expect(journal.rows).toEqual([
      { step: 'dropped', row_count: 16, proven: '16', sized: true },
      { step: 'dropped', row_count: 16, proven: '16', sized: true },
    ]);
  });

  test('a second run does nothing', async () => {
    expect(await store()).toMatchObject({ outcome: 'nothing' });
  });

  test('a late row goes into such a week', async () => {
    await stream.play(blocksOf([move(2, 3, 5, DAY + HOUR)]), 1);
    expect(await kinds()).toBe('columnar columnar sharded');
    expect(await problems()).toBe(0);
  });

  test('a fork that reaches into one turns it back first, and those behind it', async () => {
    await stream.play({ ...blocksOf([move(1, 4, 2, 2n * WEEK + DAY)]), back: 2 }, 2);
    expect(await kinds()).toBe('sharded sharded sharded');
    expect(await problems()).toBe(0);
  });

  test('undo stores a week by row again', async () => {
    await store([new Date(FIRST)]);
    expect(await kinds()).toBe('columnar sharded sharded');
    const before = await digest();
    const run = await undoWeek({
      pool: database.pool,
      set: 'balance_changes',
      week: new Date(FIRST),
      now: NOW,
      askedBy: 'command',
      signal: new AbortController().signal,
    });
    expect(run).toMatchObject({ outcome: 'done' });
    expect(await kinds()).toBe('sharded sharded sharded');
    expect(await digest()).toBe(before);
    expect(
      await valueOf(
        database.pool,
        `select count(*)::int from pg_indexes where tablename = 'balance_changes_2026_01_04' and indexdef like '%brin%'`,
      ),
    ).toBe(1);
  });

  test('a copy that differs is not exchanged', async () => {
    await database.pool.query(
      `create or replace function strata.week_digest(rows_of regclass, out row_count bigint, out hash numeric) language sql
       as $$ select 1::bigint, (random() * 1e9)::numeric $$`,
    );
    const run = await store([new Date(FIRST)]);
    expect(run).toMatchObject({ outcome: 'failed' });
    expect(JSON.stringify(run)).toContain('is not the week');
    expect(await kinds()).toBe('sharded sharded sharded');
    expect(await problems()).toBe(0);
  });
});
