/** Weeks cut by list of activity groups: made, loaded, merged and refused like weeks cut by hash. */
import { beforeEach, describe, expect, it } from 'vitest';
import { createPool } from '../../src/db/pool.ts';
import type { Pool } from '../../src/db/query.ts';
import { parseConfig } from '../../src/runtime/config.ts';
import { createChain } from '../../src/devnet/chain.ts';
import { startDevnet } from '../../src/devnet/server.ts';
import { createActivityGroups } from '../../src/warehouse/partitions/activity-groups.ts';
import { createPartitionManager } from '../../src/warehouse/partitions/manager.ts';
import { applyPolicies } from '../../src/warehouse/partitions/policy.ts';
import { useDatabase } from '../database.ts';
import { load } from '../jobs/loading.ts';
import { digest, shape } from './weeks.ts';

const database = useDatabase();
let pool: Pool;

/** A database of its own for each test of the describe block that calls it. */
const freshDatabases = (): void => {
  beforeEach(async () => {
    pool = createPool((await database.createDatabase()).url);
    return () => pool.end();
  });
};

const GROUPS = createActivityGroups(
  [
    { id: 'xrd_holding', category: 'holding', type: 'passive' },
    { id: 'lsu_holding', category: 'holding', type: 'passive' },
    { id: "it's", category: 'Trading!', type: 'active' },
    { id: 'dex_swap', category: 'Trading!', type: 'active' },
  ],
  10,
);

const createPoints = async (): Promise<void> => {
  await pool.query(`create table public.points (account text not null, activity text not null, at timestamptz not null, amount numeric not null,
                                                primary key (account, at, activity)) partition by range (at)`);
  await pool.query(
    `select strata.create_partition_set('points', 'public.points', 'at', 'activity', groups => $1::jsonb)`,
    [JSON.stringify(GROUPS)],
  );
};

const leaves = async (week: string): Promise<string[]> => {
  const { rows } = await pool.query<{ leaf: string }>(
    `select c.relname || ' ' || pg_get_expr(c.relpartbound, c.oid) as leaf from pg_inherits i join pg_class c on c.oid = i.inhrelid
      where i.inhparent = $1::regclass order by c.relname`,
    [week],
  );
  return rows.map((row) => row.leaf);
};

describe('a set of list layout', () => {
  freshDatabases();

  it('makes a partition for each group, and one for all others', async () => {
    await createPoints();
    await pool.query(`select strata.ensure_weeks('points', '2026-01-05Z', '2026-01-05Z')`);
    expect(await leaves('public.points_2026_01_04')).toEqual([
      'points_2026_01_04_default DEFAULT',
      "points_2026_01_04_holding_passive FOR VALUES IN ('lsu_holding', 'xrd_holding')",
      "points_2026_01_04_trading_active FOR VALUES IN ('dex_swap', 'it''s')",
    ]);
    await pool.query(
      `insert into public.points values ('a', 'it''s', '2026-01-05Z', 1), ('a', 'new', '2026-01-05Z', 1)`,
    );
    const { rows } = await pool.query(
      'select tableoid::regclass::text as leaf from public.points order by 1',
    );
    expect(rows).toEqual([
      { leaf: 'points_2026_01_04_default' },
      { leaf: 'points_2026_01_04_trading_active' },
    ]);
  });

  it.each(['root', 'week'])('is merged by the same verbs, with the swap in the %s', async (how) => {
    await createPoints();
    await pool.query(`select strata.ensure_weeks('points', '2026-01-05Z', '2026-01-12Z')`);
    await pool.query(
      `insert into public.points select 'a' || i % 31, (array['xrd_holding', 'dex_swap', 'unknown'])[1 + i % 3], '2026-01-04Z'::timestamptz + i * interval '10 minutes', i
         from generate_series(0, 1900) i`,
    );
    const before = await digest(pool, 'public.points');
    const client = await pool.connect();
    await client.query('begin');
    if (how === 'week') await client.query('lock table only public.points in access share mode');
    const { rows } = await pool.query<{ status: string }>(
      `select status from strata.consolidate_old_weeks('points', 3, false)`,
    );
    await client.query('rollback');
    client.release();
    expect(rows).toEqual([{ status: 'CONSOLIDATED' }, { status: 'CONSOLIDATED' }]);
    if (how === 'week') {
      expect(await shape(pool, 'points')).toEqual([
        'consolidated 1 points_2026_01_04',
        'consolidated 1 points_2026_01_11',
      ]);
      await pool.query(`select strata.flatten_weeks('points')`);
    }
    expect(await shape(pool, 'points')).toEqual([
      'consolidated 0 points_2026_01_04_consolidated',
      'consolidated 0 points_2026_01_11_consolidated',
    ]);
    expect(await digest(pool, 'public.points')).toBe(before);
    expect(await leaves('strata_held.points_2026_01_04')).toHaveLength(3);
    const { rows: reports } = await pool.query<{ value: string }>(
      `select value from strata.consolidation_report('points') where metric = 'consolidated_weeks'`,
    );
    expect(reports).toEqual([{ value: '2' }]);
  });

  it('follows the manager’s groups for new weeks, and only those', async () => {
    await createPoints();
    const manager = createPartitionManager(pool, { set: 'points' });
    const week = (day: string): Date => new Date(`2026-01-${day}T00:00:00Z`);
    await manager.createWeeklyPartitions(week('04'), week('11'));
    const made = await manager.createWeeklyPartitions(week('04'), week('18'), [
      { name: 'all_of_it', values: ['dex_swap', 'xrd_holding'] },
    ]);
    expect(made.map(({ partition, created }) => `${partition} ${created}`)).toEqual([
      'points_2026_01_04 false',
      'points_2026_01_11 true',
    ]);
    expect(await leaves('public.points_2026_01_04')).toHaveLength(3);
    expect((await leaves('public.points_2026_01_11')).map((leaf) => leaf.split(' ')[0])).toEqual([
      'points_2026_01_11_all_of_it',
      'points_2026_01_11_default',
    ]);
    await expect(manager.createWeeklyPartitions(week('18'), week('25'), 8)).rejects.toMatchObject({
      kind: 'config',
      message: 'the weeks of points are cut by list',
    });
    await expect(
      manager.createWeeklyPartitions(week('18'), week('25'), [{ name: 'Bad Name', values: ['x'] }]),
    ).rejects.toMatchObject({
      kind: 'config',
      message: expect.stringMatching(/'Bad Name' is no name for a group/),
    });
  });

  it('takes names as long as they may be', async () => {
    const set = 's'.repeat(39);
    await pool.query(
      `create table public.${set} (activity text not null, at timestamptz not null) partition by range (at)`,
    );
    await pool.query(
      `select strata.create_partition_set('${set}', 'public.${set}', 'at', 'activity', groups => '[{"name": "${'g'.repeat(12)}", "values": ["x"]}]')`,
    );
    await pool.query(`select strata.ensure_weeks('${set}', '2026-01-05Z', '2026-01-05Z')`);
    expect((await leaves(`public.${set}_2026_01_04`))[1]?.split(' ')[0]).toBe(
      `${set}_2026_01_04_${'g'.repeat(12)}`,
    );
    await pool.query(`select strata.consolidate_old_weeks('${set}', 3, false)`);
    expect(await shape(pool, set)).toEqual([`consolidated 0 ${set}_2026_01_04_consolidated`]);
  });
});

describe('groups', () => {
  it.each([
    ['{}', /must be an array/],
    ['[]', /must be an array of 1 to 1000/],
    ['[{"name": "a"}]', /must have a name and an array of values/],
    ['[{"name": "a", "values": []}]', /at least one in each group/],
    ['[{"name": "a", "values": [1]}]', /values must be strings/],
    ['[{"name": "a", "values": [null]}]', /values must be strings/],
    ['[{"name": "A b", "values": ["x"]}]', /'A b' is no name for a group/],
    ['[{"name": "default", "values": ["x"]}]', /'default' is no name/],
    ['[{"name": "hash_3", "values": ["x"]}]', /'hash_3' is no name/],
    [`[{"name": "${'n'.repeat(46)}", "values": ["x"]}]`, /at most 45 bytes long/],
    ['[{"name": "a", "values": ["x"]}, {"name": "a", "values": ["y"]}]', /'a' is the name of two groups/],
    [
      '[{"name": "a", "values": ["x"]}, {"name": "b", "values": ["x"]}]',
      /'x' is in a group twice, or in two/,
    ],
  ])('refuses the groups %s', async (groups, message) => {
    await expect(
      database.pool.query(`select strata.check_groups('points', $1::jsonb)`, [groups]),
    ).rejects.toThrow(message);
  });
});

describe('the configuration', () => {
  const stream = (partition: object): string =>
    JSON.stringify({
      servers: { s: { url: 'grpc://127.0.0.1:1' } },
      streams: { logs: { server: 's', load: 'rows', query: 'select 1', table: 't', partition } },
    });

  it.each([
    [{ time: 't' }, /must have one of hash and list/],
    [{ time: 't', hash: 'a', list: 'b', groups: { g: ['x'] } }, /must have one of hash and list/],
    [{ time: 't', list: 'b' }, /partition\.groups: must have groups with list/],
    [{ time: 't', hash: 'b', groups: { g: ['x'] } }, /partition\.groups: must have groups with list/],
    [{ time: 't', list: 'b', groups: { 'no name': ['x'] } }, /groups\.no name/],
  ])('refuses %j', (partition, message) => {
    expect(() => parseConfig(stream(partition), {})).toThrow(message);
  });
});

describe('the configuration of a database', () => {
  freshDatabases();

  it('loads a rows stream into list partitions', async () => {
    const devnet = await startDevnet({
      chain: createChain({ blocks: 50, logsPerBlock: 9, blockSeconds: 20_000, seed: 3 }),
    });
    try {
      const settings = {
        load: 'rows',
        query: 'SELECT _block_num, timestamp, log_index FROM logs',
        table: 'public.placed',
        partition: { time: 'timestamp', list: 'log_index', groups: { first: ['0', '1'], second: ['2'] } },
      };
      const result = await load({ pool, url: devnet.url, stream: 'placed', settings });
      expect(result).toMatchObject({ end: 'complete', rows: 450, quarantined: 0 });
      const { rows } = await pool.query<{ leaf: string; places: number[] }>(
        `select regexp_replace(tableoid::regclass::text, '.*_', '') as leaf, array_agg(distinct log_index order by log_index) as places from public.placed group by 1 order by 1`,
      );
      expect(rows).toHaveLength(3);
      expect(rows.slice(1)).toEqual([
        { leaf: 'first', places: [0, 1] },
        { leaf: 'second', places: [2] },
      ]);
      expect(rows[0]?.places).not.toContain(0);
    } finally {
      await devnet.stop();
    }
  });

  it('changes the groups of a set of list layout only', async () => {
    await createPoints();
    await applyPolicies(pool, { points: { groups: { one: ['a'], two: ['b', 'c'] } } });
    const { rows } = await pool.query("select groups from strata.partition_sets where set_name = 'points'");
    expect(rows).toEqual([
      {
        groups: [
          { name: 'one', values: ['a'] },
          { name: 'two', values: ['b', 'c'] },
        ],
      },
    ]);
    await expect(
      applyPolicies(pool, { points: { groups: { one: ['a'], two: ['a'] } } }),
    ).rejects.toMatchObject({
      kind: 'config',
      message: expect.stringMatching(
        /partitions\.points: the groups of points are not usable: 'a' is in a group twice/,
      ),
    });
    await expect(applyPolicies(pool, { balance_changes: { groups: { one: ['a'] } } })).rejects.toMatchObject({
      kind: 'config',
      detail: { remedy: expect.stringMatching(/keeps the layout/) },
    });
  });
});

describe('createActivityGroups', () => {
  it('groups by category and type, sorted, in bounded groups, whatever the order', () => {
    const activities = Array.from({ length: 25 }, (_unused, i) => ({
      id: `a${String(i).padStart(2, '0')}`,
      category: i < 21 ? 'Holding' : null,
      type: i < 21 ? 'passive' : i < 23 ? 'Δ' : '9 lives',
    }));
    const groups = createActivityGroups(activities, 10);
    expect(groups.map(({ name, values }) => `${name} ${values.length}`)).toEqual([
      'g_9_lives 2',
      'holding_passive 10',
      'holding_passive_2 10',
      'holding_passive_3 1',
      'other 2',
    ]);
    expect(createActivityGroups(activities.toReversed(), 10)).toEqual(groups);
  });

  it('keeps names apart, free and short', () => {
    const groups = createActivityGroups(
      [
        { id: 'a', category: 'x' },
        { id: 'b', category: 'x' },
        { id: 'c', category: 'x', type: '2' },
        { id: 'd', category: 'default' },
        { id: 'e', category: 'y'.repeat(60) },
        { id: 'f', category: 'y'.repeat(60) },
      ],
      1,
    );
    expect(groups.map(({ name }) => name)).toEqual([
      'default_group',
      'x',
      'x_2',
      'x_3',
      `${'y'.repeat(33)}_2`,
      'y'.repeat(35),
    ]);
    expect(new Set(groups.map(({ name }) => name)).size).toBe(groups.length);
  });

  it('refuses an activity that is there twice, and a maximum that is none', () => {
    expect(() => createActivityGroups([{ id: 'a' }, { id: 'a' }])).toThrow('activity "a" is there twice');
    expect(() => createActivityGroups([{ id: 'a' }], 0)).toThrow('a group cannot have at most 0 activities');
  });
});
