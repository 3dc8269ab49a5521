/** Which locks a consolidation takes at each step, and that its exchange neither scans nor builds. */
import pg from 'pg';
import { describe, expect, it } from 'vitest';
import { createPool } from '../../src/db/pool.ts';
import type { Plan, Step } from '../../src/warehouse/partitions/plan.ts';
import { applyConsolidate } from '../../src/warehouse/partitions/consolidate/apply.ts';
import { planConsolidate } from '../../src/warehouse/partitions/consolidate/plan.ts';
import {
  applyUndoConsolidation,
  planUndoConsolidation,
} from '../../src/warehouse/partitions/consolidate/undo.ts';
import { useDatabase } from '../database.ts';
import { contents, fillChanges, kinds } from './consolidate.ts';
import { NOW, QUICK } from './settings.ts';

const SET = 'balance_changes';
const WEEK_NAME = 'balance_changes_2024_01_14';

/** Lock modes from the weakest to the strongest. */
const MODES = [
  'AccessShareLock',
  'RowShareLock',
  'RowExclusiveLock',
  'ShareUpdateExclusiveLock',
  'ShareLock',
  'ShareRowExclusiveLock',
  'ExclusiveLock',
  'AccessExclusiveLock',
];

/** Strongest lock that the session holds on the root, the week and its leaves, in the words of a plan. */
const heldLocks = async (
  client: pg.Client,
  tables: ReadonlyMap<number, string>,
): Promise<Record<string, string>> => {
  const { rows } = await client.query<{ table: string; mode: string }>(
    `select l.relation as table, l.mode from pg_locks l where l.pid = pg_backend_pid() and l.granted and l.relation is not null`,
  );
  const strongest: Record<string, string> = {};
  for (const { table, mode } of rows.toSorted((a, b) => MODES.indexOf(a.mode) - MODES.indexOf(b.mode))) {
    const name = tables.get(Number(table));
    if (name !== undefined)
      strongest[name] = mode
        .replace(/Lock$/u, '')
        .replaceAll(/(?<=.)(?=[A-Z])/gu, ' ')
        .toUpperCase();
  }
  return strongest;
};

/** Runs a step as its plan shows it, in one transaction, and says what it had locked at the end of it. */
const runStep = async (
  client: pg.Client,
  step: Step,
  tables: ReadonlyMap<number, string>,
): Promise<Record<string, string>> => {
  if (/^(?:freeze|index) /u.test(step.name)) {
    for (const statement of step.sql) await client.query(statement);
    return {};
  }
  await client.query('begin');
  await client.query(`set local strata.replaying = 'on'`);
  for (const statement of step.sql) await client.query(statement);
  const locks = await heldLocks(client, tables);
  await client.query('commit');
  return locks;
};

describe('locks', () => {
  const database = useDatabase();

  /** Runs a whole plan by hand, and expects of each step the locks on root, week and leaves that the plan announces. */
  const expectLocks = async (plan: Plan): Promise<Record<string, Record<string, string>>> => {
    const client = new pg.Client({ connectionString: database.url });
    await client.connect();
    const { rows } = await client.query<{ oid: number; name: string }>(
      `select c.oid, c.relname as name from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where n.nspname = 'strata' and c.relkind in ('r', 'p') and c.relname ~ '^${SET}(_2024_01_14.*)?$'`,
    );
    const tables = new Map(rows.map(({ oid, name }) => [oid, name]));
    const taken: Record<string, Record<string, string>> = {};
    try {
      for (const step of plan.steps) {
        const locks = await runStep(client, step, tables);
        const announced = Object.fromEntries(
          step.locks
            .map(
              ({ relation, mode }) => [relation.replaceAll('"', '').split('.').at(-1) ?? '', mode] as const,
            )
            .filter(([name]) => tables.values().some((known) => known === name)),
        );
        if (Object.keys(locks).length > 0) {
          taken[step.name.split(' ')[0] ?? ''] = locks;
          for (const [name, mode] of Object.entries(announced))
            expect([step.name, name, locks[name]]).toEqual([step.name, name, mode]);
          // Reading a week's partitions takes ACCESS SHARE on the root, too, which nobody feels.
          for (const name of Object.keys(locks).filter((table) => locks[table] !== 'ACCESS SHARE'))
            expect(announced, `${step.name} announces its lock on ${name}`).toHaveProperty(name);
        }
      }
    } finally {
      await client.end();
    }
    return taken;
  };

  it('are those the plan announces: the root is locked by the exchange alone', async () => {
    const { pool } = database;
    await fillChanges(pool, 2, 300);
    const before = await contents(pool, SET);
    const taken = await expectLocks(
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

    const back = await expectLocks(await planUndoConsolidation(pool, SET));
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
