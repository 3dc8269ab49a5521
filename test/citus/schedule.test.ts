/** The scheduler on a cluster: weeks made ahead, old ones stored by column, older ones taken out and dropped, while a stream loads. */
import { expect, test } from 'vitest';
import { MAINTENANCE_VERBS } from '../../src/jobs/verbs.ts';
import { scheduleOf } from '../../src/jobs/scheduler/settings.ts';
import { parseConfig } from '../../src/runtime/config.ts';
import { watchSets } from '../../src/warehouse/partitions/watch.ts';
import { blocksOf, DAY, HOUR, move, openStream, valueOf, verified, WEEK } from '../balances/harness.ts';
import { NOW } from '../balances/play.ts';
import { useDatabase } from '../database.ts';
import { until } from '../db/until.ts';
import { createFakeClock } from '../jobs/fake-clock.ts';
import { journalOf } from '../jobs/maintaining.ts';
import { resting, useSchedulers } from '../jobs/scheduling.ts';
import { onCluster } from './cluster.ts';

/** Every verb, at once. */
const schedule = scheduleOf(parseConfig('schedule: { jitter_seconds: 0 }', {}), {});

await onCluster('the scheduler', () => {
  const database = useDatabase();
  const { start } = useSchedulers(database);

  const kinds = (): Promise<string> =>
    valueOf(
      database.pool,
      `select string_agg(kind, ' ' order by lower_bound) from strata.week_info('balance_changes') where lower_bound < '2026-02-22'`,
    );
  const overdue = async (): Promise<string[]> =>
    (await watchSets(database.pool, NOW))
      .filter(({ check }) => check === 'unconsolidated weeks')
      .map(({ says }) => says);

  test('keeps weeks as the policy says, and balances exact', { timeout: 180_000 }, async () => {
    const stream = openStream(database.pool, 'scheduled');
    const at = (week: bigint): bigint => week * WEEK + DAY;
    await stream.play(
      blocksOf(...[0n, 1n, 2n, 3n].map((week) => [1, 2, 3, 4].map((to) => move(0, to, to, at(week))))),
      0,
    );
    // On 1 March: the first of January's weeks is older than five, the second and third older than four.
    await database.pool.query(
      `update strata.partition_sets set consolidate_after = '28 days', retain = '49 days', hold = '1 day', premake = 3 where set_name = 'balance_changes'`,
    );
    expect(await kinds()).toBe('sharded sharded sharded sharded');
    expect(await overdue()).toEqual([
      expect.stringContaining('4 weeks are old enough to be stored by column'),
    ]);

    const clock = createFakeClock(NOW.toISOString());
    const scheduler = start(clock, MAINTENANCE_VERBS, { schedule });
    await stream.play(blocksOf([move(0, 1, 5, at(6n))], [move(1, 2, 1, at(7n) + HOUR)]), 1);
    await resting(clock, 7);
    const outcomes = (await journalOf(database.pool)).map(
      ({ verb, set_name, outcome }) => `${verb} ${set_name} ${outcome}`,
    );
    expect(outcomes).toContain('ensure balance_changes done');
    expect(outcomes).toContain('retain balance_changes done');
    expect(outcomes).toContain('consolidate balance_changes done');
    expect(outcomes.filter((text) => !/ (done|nothing)$/.test(text))).toEqual([]);
    expect(await kinds()).toBe('columnar columnar columnar sharded'); // the last one was made for the rows that came meanwhile
    expect(await overdue()).toEqual([]);

    // A day later what was held is dropped.
    const held = (): Promise<number> =>
      valueOf(database.pool, `select count(*)::int from strata.held_partitions where state = 'held'`);
    expect(await held()).toBe(1);
    const { rows } = await database.pool.query(
      `select partition::regclass::text as week, bytes = citus_total_relation_size(partition) as weighed from strata.held_partitions`,
    );
    expect(rows).toEqual([{ week: 'strata_held.balance_changes_2026_01_04', weighed: true }]);
    await database.pool.query(`update strata.held_partitions set drop_after = '2026-03-01'`);
    clock.advance(86_400_000);
    await until('the week to be dropped', async () => (await held()) === 0);
    await resting(clock, 7);
    expect(await scheduler.stop()).toMatchObject({ failed: 0 });

    await stream.play(blocksOf([move(2, 3, 1, at(2n) + HOUR)], [move(0, 4, 1, at(7n) + DAY)]), 2);
    expect(await verified(database.pool)).toMatchObject({ differences: 0, first: [] });
  });
});
