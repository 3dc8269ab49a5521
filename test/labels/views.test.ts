/** Labels joined by a view: every row once, what has no label counted, and the view follows its labels. */
import { describe, expect, test } from 'vitest';
import { listLabels, removeLabels } from '../../src/warehouse/labels/registry.ts';
import { joinLabels } from '../../src/warehouse/labels/views.ts';
import { useDatabase } from '../database.ts';
import { failureOf } from '../flight/collect.ts';
import { addText } from './files.ts';

const database = useDatabase();

describe('a view', () => {
  const NOBODY = { configured: [], known: [], force: false };

  test('joins without losing or doubling a row, counts what has no label, and follows the labels', async () => {
    await addText(database.pool, 'people', 'address,name,age\n0x01,ann,5\nbob,bob,6\n');
    await database.pool
      .query(`create table public.visits (id int, who text, account_address bytea, name text);
      insert into public.visits values (1, '0x01', '\\x01', 'x'), (2, 'bob', 'bob', 'y'), (3, 'eve', '\\x03', 'z'), (4, null, null, 'w'), (5, '0x01', '\\x01', 'v')`);
    const clash = await failureOf(joinLabels(database.pool, { label: 'people', table: 'visits' }));
    expect(clash.message).toContain('has a column name already');
    const made = await joinLabels(database.pool, {
      label: 'people',
      table: 'visits',
      prefix: 'label_',
      count: true,
    });
    expect(made).toEqual({
      view: 'public.visits_with_people',
      columns: ['label_name', 'label_age'],
      rows: 5,
      unmatched: 2,
    });
    const read = async (): Promise<unknown[]> =>
      (await database.pool.query(`select id, label_name from visits_with_people order by id`)).rows.map(
        (row: object) => Object.values(row),
      );
    expect(await read()).toEqual([
      [1, 'ann'],
      [2, 'bob'],
      [3, null],
      [4, null],
      [5, 'ann'],
    ]);
    await joinLabels(database.pool, {
      label: 'people',
      table: 'visits',
      column: 'who',
      prefix: 'label_',
      inner: true,
    });
    expect(await read()).toEqual([
      [1, 'ann'],
      [2, 'bob'],
      [5, 'ann'],
    ]);
    await addText(database.pool, 'people', 'address,name,town\n0x01,anna,x\n', { replace: true });
    expect(await read()).toEqual([
      [1, 'anna'],
      [5, 'anna'],
    ]);
    expect((await database.pool.query('select label_town from visits_with_people limit 1')).rows).toEqual([
      { label_town: 'x' },
    ]);
    const refused = await failureOf(removeLabels(database.pool, 'people', NOBODY));
    expect(refused).toMatchObject({
      kind: 'conflict',
      detail: { remedy: expect.stringContaining('drop view public.visits_with_people') as string },
    });
    await database.pool.query('drop view public.visits_with_people');
    await removeLabels(database.pool, 'people', NOBODY);
    expect((await listLabels(database.pool)).map(({ name }) => name)).not.toContain('people');
  });

  test.each([
    [{ table: 'nowhere' }, /no table public.nowhere/],
    [{ table: 'strata.assets', column: 'asset_id' }, /is bigint, not an account/],
    [{ table: 'strata.assets', column: 'owner' }, /has no column owner/],
    [{ table: 'strata.balances', columns: ['nick'] }, /have no column nick/],
    [{ table: 'strata.balances', label: 'nobodys' }, /there are no labels nobodys/],
  ])('%j is refused', async (options, says) => {
    await addText(database.pool, 'some', 'address,name\n0x01,a\n', { replace: true });
    const error = await failureOf(joinLabels(database.pool, { label: 'some', ...options }));
    expect(error.message).toMatch(says);
    expect(error).toMatchObject({ kind: 'config', detail: { remedy: expect.any(String) as string } });
  });

  test('does not take the name of what is there', async () => {
    await addText(database.pool, 'taken', 'address,name\n0x01,a\n');
    await database.pool.query(
      'create view public.their_visits as select 1 as a, null::bytea as account_address; create view public.their_visits_with_taken as select 1 as a',
    );
    const error = await failureOf(joinLabels(database.pool, { label: 'taken', table: 'their_visits' }));
    expect(error).toMatchObject({
      kind: 'conflict',
      message: expect.stringContaining('is no view of labels') as string,
    });
  });
});
