/** What cannot be adopted, each with the way out that the refusal names; and what is said before. */
import { expect, it } from 'vitest';
import type { AdoptRequest } from '../../src/warehouse/partitions/adopt/adoption.ts';
import { applyAdopt } from '../../src/warehouse/partitions/adopt/apply.ts';
import { planAdopt } from '../../src/warehouse/partitions/adopt/plan.ts';
import { applyUndoAdopt, planUndoAdopt } from '../../src/warehouse/partitions/adopt/undo.ts';
import { withClient } from '../../src/db/pool.ts';
import { withAdvisoryLock } from '../../src/db/locks.ts';
import { maintainLock } from '../../src/warehouse/partitions/plan.ts';
import { useDatabase } from '../database.ts';
import { CASES, PLAIN } from './adopt-cases.ts';
import { expectNoAdoptionLeft } from './adopt.ts';
import { PRESENT } from './adopt-settings.ts';
import { QUICK } from './settings.ts';

const database = useDatabase();
const REQUEST: AdoptRequest = { table: 'public.t', time: 'at', hash: 'who', modulus: 1 };
it.each(CASES)(
  'refuses $what, and says what to do',
  async ({ table = PLAIN, more, request, says, remedy, cure }) => {
    const { pool } = database;
    await pool.query(
      'drop publication if exists all_of_t; drop table if exists public.t, public.child cascade',
    );
    await pool.query('drop function if exists public.child() cascade');
    await pool.query(table.replace(', (select) twice', ''));
    if (more !== undefined) await pool.query(more);
    const asked = { ...REQUEST, ...request };
    const planned = planAdopt(pool, asked, { now: PRESENT });
    await expect(planned).rejects.toMatchObject({
      kind: 'config',
      message: expect.stringMatching(says) as string,
      detail: { remedy: expect.stringMatching(remedy) as string },
    });
    if (cure !== undefined) await pool.query(cure);
    await expectNoAdoptionLeft(pool);
    if (cure === undefined) return;
    expect((await planAdopt(pool, asked, { now: PRESENT })).steps).toHaveLength(9);
  },
);

it('finds a table by its name alone only where that is one', async () => {
  const { pool } = database;
  await expect(
    planAdopt(pool, { ...REQUEST, table: 'balance_changes' }, { now: PRESENT }),
  ).rejects.toMatchObject({
    kind: 'usage',
    detail: { remedy: expect.stringContaining('managed already') as string },
  });
  await pool.query('create schema a; create table a.twice (); create table public.twice ()');
  await expect(planAdopt(pool, { ...REQUEST, table: 'twice' }, { now: PRESENT })).rejects.toMatchObject({
    detail: { remedy: 'Name one of them: a.twice, public.twice.' },
  });
});

it('makes an ordinary index of what was unique when told to, and weeks of their own for rows out of the window', async () => {
  const { pool } = database;
  await pool.query('drop table if exists public.t, public.child cascade');
  await pool.query(PLAIN);
  await pool.query(
    `alter table public.t add constraint who_note unique (who, note, id); insert into public.t values (50, '1970-01-01', 'epoch', 'n')`,
  );
  const plan = await planAdopt(pool, { ...REQUEST, relaxUnique: true }, { now: PRESENT });
  expect(plan.notes).toContain(
    '"who_note" becomes an ordinary index: nothing keeps its columns unique any more.',
  );
  expect(plan.notes).toContain(
    '1 rows lie in the week of 1969-12-28T00:00:00.000Z, out of the window that loads take rows for; they are kept, in a week of their own.',
  );
  await applyAdopt(pool, plan, { patience: QUICK });
  const { rows } = await pool.query(
    `select (select indisunique from pg_index where indexrelid = 'public.who_note'::regclass) as unique, (select count(*)::int from strata.week_info('t')) as weeks`,
  );
  expect(rows).toEqual([{ unique: false, weeks: 7 }]);

  // The key alone is not unique any more, and a plain table cannot take twins back.
  await pool.query(`insert into public.t values (1, '2024-02-05', 'twin', 'n')`);
  await expect(
    applyUndoAdopt(pool, await planUndoAdopt(pool, 't'), { patience: QUICK }),
  ).rejects.toMatchObject({
    kind: 'conflict',
    message: expect.stringContaining('no longer unique by the key of the plain table') as string,
  });
  await expectNoAdoptionLeft(pool);
  await pool.query(`delete from public.t where who = 'twin'`);
  // A TRUNCATE of one partition is no row that a trigger sees; the proof sees it.
  await pool.query('truncate public.t_1969_12_28');
  await expect(
    applyUndoAdopt(pool, await planUndoAdopt(pool, 't'), { patience: QUICK }),
  ).rejects.toMatchObject({ message: expect.stringContaining('the copy is not the source') as string });
  await pool.query('truncate public.t');
  await pool.query(`insert into public.t values (7, '2024-02-05', 'after', 'n')`);
  await applyUndoAdopt(pool, await planUndoAdopt(pool, 't'), { patience: QUICK });
  expect((await pool.query('select id, who from public.t')).rows).toEqual([{ id: 7, who: 'after' }]);
  await expectNoAdoptionLeft(pool);
});

it('works alone, gives up when it is stopped, and takes away what it had made', async () => {
  const { pool } = database;
  const plan = await planAdopt(pool, { ...REQUEST, relaxUnique: true }, { now: PRESENT });
  await withClient(pool, (client) =>
    withAdvisoryLock(client, maintainLock('t'), async () => {
      await expect(applyAdopt(pool, plan, { patience: QUICK })).rejects.toMatchObject({
        kind: 'conflict',
        message: expect.stringContaining('maintain t') as string,
      });
    }),
  );
  const altered: Promise<unknown>[] = [];
  const stop = new AbortController();
  const onEvent = ({ step, kind }: { readonly step: string; readonly kind: string }): void => {
    if (kind === 'done' && step.startsWith('copy ')) stop.abort(new Error('enough'));
  };
  await expect(applyAdopt(pool, plan, { patience: QUICK, signal: stop.signal, onEvent })).rejects.toThrow(
    'enough',
  );
  await expectNoAdoptionLeft(pool);
  await expect(
    applyAdopt(pool, plan, {
      patience: QUICK,
      onEvent: ({ step, kind }) =>
        void (
          kind === 'done' &&
          step.startsWith('prove ') &&
          altered.push(pool.query('create index t_who on public.t (who)'))
        ),
    }),
  ).rejects.toThrow('somebody has altered');
  expect(altered).toHaveLength(1);
  await expectNoAdoptionLeft(pool);
  const again = await planAdopt(pool, { ...REQUEST, relaxUnique: true }, { now: PRESENT });
  const watched: Promise<unknown>[] = [];
  await expect(
    applyAdopt(pool, again, {
      patience: QUICK,
      onEvent: ({ step, kind }) => {
        if (kind === 'done' && step.startsWith('copy '))
          watched.push(pool.query('create materialized view public.late as select count(*) from public.t'));
      },
    }),
  ).rejects.toMatchObject({
    kind: 'conflict',
    detail: { remedy: expect.stringContaining('DROP MATERIALIZED VIEW') as string },
  });
  await Promise.all(watched);
  await expectNoAdoptionLeft(pool);
});
