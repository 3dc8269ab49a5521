/** Which locks a consolidation takes at each step, and that its exchange neither scans nor builds. */
import { describe, expect, it } from 'vitest';
import { createPool } from '../../src/db/pool.ts';
import type { Plan } from '../../src/warehouse/partitions/plan.ts';
import { applyConsolidate } from '../../src/warehouse/partitions/consolidate/apply.ts';
import { planConsolidate } from '../../src/warehouse/partitions/consolidate/plan.ts';
import {
  applyUndoConsolidation,
  planUndoConsolidation,
} from '../../src/warehouse/partitions/consolidate/undo.ts';
import { useDatabase } from '../database.ts';
import { contents, fillChanges, kinds } from './consolidate.ts';
import { expectLocks } from './locks.ts';
import { NOW, QUICK } from './settings.ts';

const SET = 'balance_changes';
const WEEK_NAME = 'balance_changes_2024_01_14';

describe('locks', () => {
  const database = useDatabase();

  /** Root, week and leaves as they are now. */
  const expectPlanned = async (plan: Plan): ReturnType<typeof expectLocks> => {
    const { rows } = await database.pool.query<{ oid: number; name: string }>(
      `select c.oid, c.relname as name from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where n.nspname = 'strata' and c.relkind in ('r', 'p') and c.relname ~ '^${SET}(_2024_01_14.*)?$'`,
    );
    return expectLocks(database.url, plan, new Map(rows.map(({ oid, name }) => [oid, name])));
  };

  it('are those the plan announces: the root is locked by the exchange alone', async () => {
    const { pool } = database;
    await fillChanges(pool, 2, 300);
    const before = await contents(pool, SET);
    const taken = await expectPlanned(
      await planConsolidate(pool, SET, { now: NOW, weeks: [new Date('2024-01-14T00:00:00Z')] }),
    );
    expect(
      Object.entries(taken)
        .filter(([, locks]) => (locks[SET] ?? 'ACCESS SHARE') !== 'ACCESS SHARE')
        .map(([phase]) => phase),
    ).toEqual(['swap']);
    expect(taken['capture']).toEqual(
      Object.fromEntries(
        ['', '_hash_0', '_hash_1', '_hash_2', '_hash_3'].map((suffix) => [
          WEEK_NAME + suffix,
          'SHARE ROW EXCLUSIVE',
        ]),
      ),
    );
    expect(taken['swap']?.[SET]).toBe('ACCESS EXCLUSIVE');
    expect(await kinds(pool)).toEqual(['consolidated', 'hash']);
    expect(await contents(pool, SET)).toBe(before);

    const back = await expectPlanned(await planUndoConsolidation(pool, SET));
    expect(back['swap']?.[SET]).toBe('ACCESS EXCLUSIVE');
    expect(await kinds(pool)).toEqual(['hash', 'hash']);
    expect(await contents(pool, SET)).toBe(before);
  });
});

describe('the exchange', () => {
  const database = useDatabase();

  it('scans nothing and builds nothing, in both directions', async () => {
    const notices: string[] = [];
    const pool = createPool(
      `${database.url}?options=${encodeURIComponent('-c client_min_messages=debug1')}`,
      { max: 6 },
    );
    pool.on('connect', (client) => {
      client.on('notice', ({ message }) => void notices.push(message ?? ''));
    });
    await fillChanges(database.pool, 1, 300);
    const expectImplied = (table: string): void => {
      const implied = notices.indexOf(
        `partition constraint for table "${table}" is implied by existing constraints`,
      );
      expect(notices.slice(implied, implied + 1), notices.join('\n')).toHaveLength(1);
      // Of the tables that are exchanged; the triggers' own creation says nothing.
      expect(
        notices
          .slice(implied)
          .filter((notice) => /verifying table|building index|rewriting table/u.test(notice)),
      ).toEqual([]);
    };
    await applyConsolidate(pool, await planConsolidate(pool, SET, { now: NOW }), { patience: QUICK });
    expectImplied(`${WEEK_NAME}_consolidated`);
    notices.length = 0;
    await applyUndoConsolidation(pool, await planUndoConsolidation(pool, SET), { patience: QUICK });
    expectImplied(WEEK_NAME);
    await pool.end();
  });
});
