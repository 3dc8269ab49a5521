/** Runs a plan by hand, step by step, and holds the locks that each step has taken against those that it announces. */
import pg from 'pg';
import { expect } from 'vitest';
import type { Plan, Step } from '../../src/warehouse/partitions/plan.ts';

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

/** Tables whose locks count, by oid. */
export type Tables = ReadonlyMap<number, string>;

/** Strongest lock that the session holds on each of the tables, in the words of a plan. */
const heldLocks = async (client: pg.Client, tables: Tables): Promise<Record<string, string>> => {
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

/** Steps that no transaction holds together, with how many of their statements make one; others are one as a whole. */
const PIECES: Readonly<Record<string, number>> = { freeze: 0, index: 0, weeks: 4 };

/** Runs a step as its plan shows it, and says what it had locked at the end of its transaction, or of the last of them. */
const runStep = async (
  client: pg.Client,
  { name, sql }: Step,
  tables: Tables,
): Promise<Record<string, string>> => {
  const piece = PIECES[name.split(' ')[0] ?? ''] ?? sql.length;
  if (piece === 0) {
    for (const statement of sql) await client.query(statement);
    return {};
  }
  let locks: Record<string, string> = {};
  for (let n = 0; n < sql.length; n += piece) {
    await client.query('begin');
    await client.query(`set local strata.replaying = 'on'`);
    for (const statement of sql.slice(n, n + piece)) await client.query(statement);
    locks = await heldLocks(client, tables);
    await client.query('commit');
  }
  return locks;
};

/**
 * Runs a whole plan by hand, and expects of each step the locks that the plan announces.
 *
 * @returns what each phase had locked
 */
export const expectLocks = async (
  url: string,
  plan: Plan,
  tables: Tables,
): Promise<Record<string, Record<string, string>>> => {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  const taken: Record<string, Record<string, string>> = {};
  try {
    for (const step of plan.steps) {
      const locks = await runStep(client, step, tables);
      const announced = Object.fromEntries(
        step.locks
          .map(({ relation, mode }) => [relation.replaceAll('"', '').split('.').at(-1) ?? '', mode] as const)
          .filter(([name]) => tables.values().some((known) => known === name)),
      );
      if (Object.keys(locks).length === 0) continue;
      taken[step.name.split(' ')[0] ?? ''] = locks;
      for (const [name, mode] of Object.entries(announced))
        expect([step.name, name, locks[name]]).toEqual([step.name, name, mode]);
      // Reading a week's partitions takes ACCESS SHARE on the root, too, which nobody feels.
      for (const name of Object.keys(locks).filter((table) => locks[table] !== 'ACCESS SHARE'))
        expect(announced, `${step.name} announces its lock on ${name}`).toHaveProperty(name);
    }
  } finally {
    await client.end();
  }
  return taken;
};
