/** The process loses all its connections at any statement of an adoption, sent or not: recovery leaves nothing over and loses nothing. */
import { expect, it } from 'vitest';
import { applyAdopt } from '../../src/warehouse/partitions/adopt/apply.ts';
import { planAdopt } from '../../src/warehouse/partitions/adopt/plan.ts';
import { recoverAdoptions } from '../../src/warehouse/partitions/adopt/recover.ts';
import { applyUndoAdopt, planUndoAdopt } from '../../src/warehouse/partitions/adopt/undo.ts';
import { useDatabase } from '../database.ts';
import { until } from '../db/until.ts';
import { limitFor, randomRuns, seed } from '../seed.ts';
import { BALANCES, expectNoAdoptionLeft, fillBalances } from './adopt.ts';
import { BALANCES_REQUEST, BALANCES_SET, PRESENT } from './adopt-settings.ts';
import { contents } from './consolidate.ts';
import { dyingPool } from './dying-pool.ts';
import { QUICK } from './settings.ts';
import { diceOf } from './writers.ts';

const database = useDatabase();
const TABLE = 'public.account_balances';
const CRASHES = randomRuns(10);
/** Statements of an adoption or its undoing, about. */
const STATEMENTS = { p: 60, r: 110 };

it(`survives ${CRASHES} deaths at any statement`, { timeout: limitFor(CRASHES, 10_000) }, async () => {
  const { pool } = database;
  const dice = diceOf(seed());
  console.info(`crash test: PGSTRATA_SEED=${seed()}`);
  await pool.query(BALANCES);
  await fillBalances(pool, 300);
  await pool.query(`create view public.seen as select * from ${TABLE}`);
  const ends = new Map<string, number>();
  for (let crash = 0; crash < CRASHES; crash++) {
    const { rows } = await pool.query<{ kind: 'p' | 'r' }>(
      `select relkind as kind from pg_class where oid = '${TABLE}'::regclass`,
    );
    const kind = rows[0]?.kind ?? 'r';
    await pool.query(
      `update public.seen set usd_value = usd_value + 1 where data ->> 'n' like '%${crash % 10}'`,
    );
    const before = await contents(pool, TABLE);
    const dying = dyingPool(database.url, 1 + dice(STATEMENTS[kind]), dice(2) === 0);
    const work =
      kind === 'p'
        ? planUndoAdopt(dying, BALANCES_SET).then((plan) => applyUndoAdopt(dying, plan, { patience: QUICK }))
        : planAdopt(dying, BALANCES_REQUEST, { now: PRESENT }).then((plan) =>
            applyAdopt(dying, plan, { patience: QUICK }),
          );
    await work.catch(() => undefined); // it may have been through before the blow
    await dying.end().catch(() => undefined);
    await until('the sessions of the dead to end', async () => {
      const dead = await pool.query(
        `select from pg_stat_activity where application_name = 'to die' and datname = current_database()`,
      );
      return dead.rows.length === 0;
    });
    for (const { outcome, error } of await recoverAdoptions(pool, { patience: QUICK })) {
      expect(outcome === 'failed' ? error : null).toBeNull();
      ends.set(outcome, (ends.get(outcome) ?? 0) + 1);
    }
    await expectNoAdoptionLeft(pool);
    expect(await contents(pool, TABLE)).toBe(before);
    expect(await contents(pool, 'public.seen')).toBe(before);
  }
  console.info(`crash test: ${JSON.stringify(Object.fromEntries(ends))}`);
});
