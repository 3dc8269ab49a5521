/** The process loses all its connections at any statement, sent or not: recovery leaves nothing over and loses nothing. */
import { expect, it } from 'vitest';
import { applyConsolidate } from '../../src/warehouse/partitions/consolidate/apply.ts';
import { planConsolidate } from '../../src/warehouse/partitions/consolidate/plan.ts';
import { recoverConsolidations } from '../../src/warehouse/partitions/consolidate/recover.ts';
import {
  applyUndoConsolidation,
  planUndoConsolidation,
} from '../../src/warehouse/partitions/consolidate/undo.ts';
import { useDatabase } from '../database.ts';
import { until } from '../db/until.ts';
import { limitFor, randomRuns, seed } from '../seed.ts';
import { contents, expectNothingLeft, fillChanges, kinds } from './consolidate.ts';
import { dyingPool } from './dying-pool.ts';
import { NOW, QUICK } from './settings.ts';
import { diceOf } from './writers.ts';

const database = useDatabase();
const SET = 'balance_changes';
const CRASHES = randomRuns(8);
/** Statements of a consolidation or an undo, about. */
const STATEMENTS = { consolidate: 70, undo: 45 };

it(`survives ${CRASHES} deaths at any statement`, { timeout: limitFor(CRASHES, 10_000) }, async () => {
  const { pool } = database;
  const dice = diceOf(seed());
  console.info(`crash test: PGSTRATA_SEED=${seed()}`);
  await fillChanges(pool, 1, 300);
  for (let crash = 0; crash < CRASHES; crash++) {
    const verb = (await kinds(pool))[0] === 'consolidated' ? 'undo' : 'consolidate';
    await pool.query(`update ${SET} set delta = delta + 1 where block_num % 10 = ${crash % 10}`);
    const before = await contents(pool, SET);
    const dying = dyingPool(database.url, 1 + dice(STATEMENTS[verb]), dice(2) === 0);
    const work =
      verb === 'consolidate'
        ? planConsolidate(dying, SET, { now: NOW }).then((plan) =>
            applyConsolidate(dying, plan, { patience: QUICK }),
          )
        : planUndoConsolidation(dying, SET).then((plan) =>
            applyUndoConsolidation(dying, plan, { patience: QUICK }),
          );
    await work.catch(() => undefined); // it may have been through before the blow
    await dying.end().catch(() => undefined);
    await until('the sessions of the dead to end', async () => {
      const { rows } = await pool.query(
        `select from pg_stat_activity where application_name = 'to die' and datname = current_database()`,
      );
      return rows.length === 0;
    });
    await recoverConsolidations(pool, SET, { patience: QUICK });
    await expectNothingLeft(pool);
    expect(await contents(pool, SET)).toBe(before);
  }
});
