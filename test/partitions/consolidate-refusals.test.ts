/** What consolidation refuses, whom it waits for, and what it says: never damage, always advice. */
import pg from 'pg';
import { beforeEach, expect, it } from 'vitest';
import { withAdvisoryLock } from '../../src/db/locks.ts';
import { withClient } from '../../src/db/pool.ts';
import { applyConsolidate } from '../../src/warehouse/partitions/consolidate/apply.ts';
import { planConsolidate } from '../../src/warehouse/partitions/consolidate/plan.ts';
import { recoverConsolidations } from '../../src/warehouse/partitions/consolidate/recover.ts';
import { planUndoConsolidation } from '../../src/warehouse/partitions/consolidate/undo.ts';
import { useDatabase } from '../database.ts';
import { contents, expectNothingLeft, fillChanges, kinds } from './consolidate.ts';
import { NOW, QUICK, WEEK, weekAt } from './settings.ts';

const database = useDatabase();
const SET = 'balance_changes';
const NAME = 'balance_changes_2024_01_14';
const LEAF = `strata.${NAME}_hash_0`;

beforeEach(async () => {
  if ((await kinds(database.pool)).length === 0) await fillChanges(database.pool, 2, 100);
});

/** What stands in the way while `make` holds, undone by `unmake`; expects that nothing is planned for the first week. */
it.each([
  [
    'a DEFAULT partition',
    `create table strata.rest partition of strata.${SET} default`,
    'drop table strata.rest',
    /has a DEFAULT partition.*Move its rows/u,
  ],
  [
    'a view on a leaf',
    `create view strata.peep as select * from ${LEAF}`,
    'drop view strata.peep',
    /is used by the view or rule of peep.*parent/u,
  ],
  [
    'a trigger of a leaf',
    `create trigger own before insert on ${LEAF} for each row execute function suppress_redundant_updates_trigger()`,
    `drop trigger own on ${LEAF}`,
    /has the trigger own of its own/u,
  ],
  [
    'an index of a leaf',
    `create index own on ${LEAF} (delta)`,
    'drop index strata.own',
    /has the index own of its own/u,
  ],
  [
    'a foreign key',
    `create table strata.kin (n bigint primary key); insert into strata.kin values (0), (1), (2), (3), (4); alter table strata.${SET} add constraint kin foreign key (asset_id) references strata.kin`,
    `alter table strata.${SET} drop constraint kin; drop table strata.kin`,
    /foreign key kin/u,
  ],
  [
    'a name that is taken',
    `create table strata.${NAME}_consolidated ()`,
    `drop table strata.${NAME}_consolidated`,
    /there is a strata\.\S+_consolidated already/u,
  ],
  [
    'a held table of that name',
    `create table strata_held.${NAME} ()`,
    `drop table strata_held.${NAME}`,
    /there is a strata_held\.\S+ already/u,
  ],
  [
    'an unlogged leaf',
    `alter table ${LEAF} set unlogged`,
    `alter table ${LEAF} set logged`,
    /no ordinary, logged table/u,
  ],
])('leaves a week alone for %s', async (_what, make, unmake, advice) => {
  const { pool } = database;
  await pool.query(make);
  try {
    const plan = await planConsolidate(pool, SET, { now: NOW, weeks: [WEEK] });
    expect(plan.steps).toEqual([]);
    expect(plan.notes.join('\n')).toMatch(advice);
  } finally {
    await pool.query(unmake);
  }
});

it('leaves odd partitions, weeks that are not due and unknown ones alone, and says so', async () => {
  const { pool } = database;
  await pool.query(
    `create table strata.odd partition of strata.${SET} for values from ('2025-02-01') to ('2025-02-03')`,
  );
  const all = await planConsolidate(pool, SET, { now: new Date('2024-04-21T00:00:00Z') });
  expect(all.steps.map(({ week }) => week)).toEqual(Array(8).fill(WEEK.toISOString()));
  expect(all.notes).toContain('odd is left alone: it is not one whole week.');
  const named = await planConsolidate(pool, SET, {
    now: NOW,
    weeks: [weekAt(90), new Date('2025-02-01T00:00:00Z')],
  });
  expect(named.steps).toEqual([]);
  expect(named.notes.join('\n')).toMatch(/no week that starts at 2025-10-05.*\n.*odd is left alone/u);
  await pool.query('drop table strata.odd');
  await expect(planConsolidate(pool, 'nothing', { now: NOW })).rejects.toMatchObject({ kind: 'config' });
  expect((await planUndoConsolidation(pool, SET, { weeks: [WEEK] })).notes).toHaveLength(1);
});

it('lets one manager work and tells the other who it is', async () => {
  const { pool } = database;
  const plan = await planConsolidate(pool, SET, { now: NOW });
  await withClient(pool, (client) =>
    withAdvisoryLock(client, `maintain ${SET}`, async () => {
      await expect(applyConsolidate(pool, plan)).rejects.toMatchObject({
        kind: 'conflict',
        message: expect.stringMatching(/"maintain balance_changes" is held by pgstrata test \(pid \d+\)/u),
      });
    }),
  );
});

it('refuses a plan that reality has left behind', async () => {
  const { pool } = database;
  const plan = await planConsolidate(pool, SET, { now: NOW });
  await pool.query(`update strata.partition_sets set heap_order = 'key' where set_name = $1`, [SET]);
  await expect(applyConsolidate(pool, plan)).rejects.toMatchObject({ kind: 'conflict' });
  await pool.query(`update strata.partition_sets set heap_order = 'time' where set_name = $1`, [SET]);
});

it('gives up, naming who is in the way, cleans up, and the other week goes on', async () => {
  const { pool } = database;
  const before = await contents(pool, SET);
  const impatient = { ...QUICK, attempts: 3, snapshots_ms: 100 };
  const other = new pg.Client({ connectionString: database.url, application_name: 'slow reader' });
  await other.connect();

  // Reads the first week only, but holds the root's lock as any reader does.
  await other.query('begin');
  await other.query(`select count(*) from ${LEAF}`);
  const plan = await planConsolidate(pool, SET, { now: NOW });
  const { weeks } = await applyConsolidate(pool, plan, { patience: impatient });
  expect(weeks.map(({ outcome }) => outcome)).toEqual(['failed', 'consolidated']);
  expect(weeks[0]?.error).toMatch(/could not be locked in 3 attempts.*\(slow reader\)/u);
  expect(weeks[0]?.error).toMatch(/recovery will/u);
  expect((await pool.query(`select to_regclass('strata.${NAME}_consolidated') as stage`)).rows).toEqual([
    { stage: null },
  ]);
  await pool.query(`update strata.${SET} set delta = delta where block_time < '2024-01-21'`);
  expect((await planConsolidate(pool, SET, { now: NOW })).notes.join('\n')).toMatch(/recover first/u);
  await other.query('commit');
  await recoverConsolidations(pool, SET, { patience: QUICK });
  await expectNothingLeft(pool);

  // A snapshot from before the copy would find the week empty after the swap.
  await other.query('begin isolation level repeatable read');
  await other.query('select 1');
  const again = await applyConsolidate(pool, await planConsolidate(pool, SET, { now: NOW }), {
    patience: impatient,
  });
  expect(again.weeks[0]?.error).toMatch(/\(slow reader\) has held a snapshot since/u);
  await other.query('commit');
  await expectNothingLeft(pool);
  expect(await contents(pool, SET)).toBe(before);

  const { rows } = await pool.query(
    `select step, error is null as fine from strata.consolidations where lower_bound = $1`,
    [WEEK],
  );
  expect(rows).toEqual([
    { step: 'failed', fine: false },
    { step: 'failed', fine: false },
  ]);
  const last = await applyConsolidate(pool, await planConsolidate(pool, SET, { now: NOW }), {
    patience: QUICK,
  });
  expect(last.weeks.map(({ outcome }) => outcome)).toEqual(['consolidated']);
  await other.end();
});

it('cleans up when it is told to stop', async () => {
  const { pool } = database;
  await pool.query(`select strata.ensure_weeks('${SET}', '2023-12-31', '2023-12-31')`);
  const stop = new AbortController();
  const { weeks } = await applyConsolidate(pool, await planConsolidate(pool, SET, { now: NOW }), {
    patience: QUICK,
    signal: stop.signal,
    onEvent: ({ kind, ...event }) => {
      if (kind === 'step' && 'step' in event && event.step.startsWith('index ')) stop.abort();
    },
  });
  expect(weeks.map(({ outcome }) => outcome)).toEqual(['failed']);
  await expectNothingLeft(pool);
  expect(await kinds(pool)).toEqual(['hash', 'consolidated', 'consolidated']);
});
