/** The truth test: eight writers and four readers go on while weeks are consolidated, undone and consolidated again; not one row differs. */
import { expect, it } from 'vitest';
import { sqlstateOf } from '../../src/db/errors.ts';
import { createPool } from '../../src/db/pool.ts';
import type { Plan } from '../../src/warehouse/partitions/plan.ts';
import {
  applyConsolidate,
  type ConsolidateEvent,
  type ConsolidateResult,
} from '../../src/warehouse/partitions/consolidate/apply.ts';
import { planConsolidate } from '../../src/warehouse/partitions/consolidate/plan.ts';
import {
  applyUndoConsolidation,
  planUndoConsolidation,
} from '../../src/warehouse/partitions/consolidate/undo.ts';
import { useDatabase } from '../database.ts';
import { limitFor, randomRuns, seed } from '../seed.ts';
import { expectNothingLeft, fillChanges, kinds } from './consolidate.ts';
import { NOW, QUICK, WEEK } from './settings.ts';
import { newTraffic, runReader, runWriter, TRUTH, TRUTH_WEEKS, type Traffic } from './writers.ts';

const database = useDatabase();
const SET = 'balance_changes';
const TRANSACTIONS = randomRuns(10_000);
const WRITERS = 8;
const READERS = 4;
const ROWS_PER_WEEK = 1500;

/** On a machine that is busy with other things a writer may take seconds for what takes it milliseconds. */
const PATIENT = { ...QUICK, snapshots_ms: 60_000 };

const weekNumber = (iso: string): number => Math.round((Date.parse(iso) - WEEK.getTime()) / (7 * 86_400_000));

it(
  `loses and makes up nothing over ${TRANSACTIONS} transactions`,
  { timeout: limitFor(TRANSACTIONS, 20) },
  async () => {
    const pool = createPool(database.url, { max: 10, applicationName: 'manager' });
    await fillChanges(pool, TRUTH_WEEKS, ROWS_PER_WEEK);
    await pool.query(TRUTH);
    await pool.query('insert into truth select * from strata.balance_changes');
    const traffic = newTraffic();
    const stop = new AbortController();
    const failed = (thrown: unknown): never => {
      stop.abort(thrown);
      throw thrown;
    };
    const running = [
      ...Array.from({ length: WRITERS }, (_unused, n) =>
        runWriter(database.url, seed() + n, traffic, stop.signal).catch(failed),
      ),
      ...Array.from({ length: READERS }, (_unused, n) =>
        runReader(database.url, seed() - n - 1, traffic, stop.signal).catch(failed),
      ),
    ];
    const ended = Promise.allSettled(running);
    const maintained = await maintain(pool, traffic, stop.signal).catch((thrown: unknown) => thrown);
    stop.abort();
    // What broke the traffic comes first: it is what broke the maintenance, too.
    for (const end of await ended) if (end.status === 'rejected') throw end.reason;
    if (maintained !== undefined) throw maintained;
    const { rows } = await pool.query<{ differences: number }>(
      `select count(*) as differences from ((table strata.balance_changes except all table truth) union all (table truth except all table strata.balance_changes)) d`,
    );
    expect(rows[0]?.differences).toBe(0);
    await expectNothingLeft(pool);
    console.info(
      `truth: ${traffic.transactions} transactions, ${traffic.reads} reads, refused ${JSON.stringify(Object.fromEntries(traffic.refused))}, longest statement on another week ${traffic.longestElsewhere_ms.toFixed(0)} ms, PGSTRATA_SEED=${seed()}`,
    );
    await pool.end();
  },
);

/** Consolidates and undoes until there were enough transactions, and ends consolidated. */
const maintain = async (
  pool: ReturnType<typeof createPool>,
  traffic: Traffic,
  stop: AbortSignal,
): Promise<void> => {
  const truncated: Promise<string | undefined>[] = [];
  const onEvent = (event: ConsolidateEvent): void => {
    traffic.busy = event.kind === 'step' ? weekNumber(event.week) : null;
    if (event.kind === 'done' && event.step.startsWith('capture ') && truncated.length === 0)
      truncated.push(
        pool
          .query(`truncate strata.${event.step.replace('capture ', '')}`)
          .then(() => 'truncated', sqlstateOf),
      );
  };
  const all = async (
    outcome: string,
    apply: (plan: Plan) => Promise<ConsolidateResult>,
    plan: () => Promise<Plan>,
  ): Promise<void> => {
    const { weeks } = await apply(await plan());
    expect(weeks.map((week) => week.error ?? week.outcome)).toEqual(Array(TRUTH_WEEKS).fill(outcome));
  };
  const consolidate = (): Promise<void> =>
    all(
      'consolidated',
      (plan) => applyConsolidate(pool, plan, { patience: PATIENT, onEvent }),
      () => planConsolidate(pool, SET, { now: NOW }),
    );
  await consolidate();
  do {
    stop.throwIfAborted();
    await all(
      'undone',
      (plan) => applyUndoConsolidation(pool, plan, { patience: PATIENT, onEvent }),
      () => planUndoConsolidation(pool, SET),
    );
    await consolidate();
  } while (traffic.transactions < TRANSACTIONS);
  // Refused by the guard, or before it was asked, as the one to give way to writers it had crossed.
  expect(['55006', '40P01']).toContain(await truncated[0]);
  expect(await kinds(pool)).toEqual(Array(TRUTH_WEEKS).fill('consolidated'));
};
