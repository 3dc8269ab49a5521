/** Consolidating a week on-line, against the bare statements and against the plain single transaction; and what is gained. */
import { createPool, withClient } from '../../src/db/pool.ts';
import { migrate } from '../../src/db/migrate.ts';
import type { Pool } from '../../src/db/query.ts';
import { applyConsolidate, type ConsolidateEvent } from '../../src/warehouse/partitions/consolidate/apply.ts';
import { planConsolidate } from '../../src/warehouse/partitions/consolidate/plan.ts';
import {
  applyUndoConsolidation,
  planUndoConsolidation,
} from '../../src/warehouse/partitions/consolidate/undo.ts';
import type { BenchOptions } from '../bench.ts';
import { withScratchServer } from '../scratch.ts';
import {
  askQuestions,
  BIG_WEEK,
  drawQuestions,
  fillOthers,
  SETS,
  type BenchSet,
} from './consolidate-weeks.ts';
import { median, result, type BenchResult } from './result.ts';

const ROWS = 4_000_000;
const NOW = new Date('2025-01-01T00:00:00Z');
const BENCH = 'consolidate';

/** Yields, for each set, `idle`, `locked`, `stall`, `disk`, `look-up`, `range` and `planning`. */
export async function* consolidateBench(options: BenchOptions): AsyncGenerator<BenchResult> {
  for (const set of SETS.filter((one) => one.set.includes(options.only))) yield* await measure(set, options);
}

const measure = async (set: BenchSet, { runs, say }: BenchOptions): Promise<BenchResult[]> => {
  const results: BenchResult[] = [];
  await withScratchServer(async (url) => {
    await migrate({ connectionString: url });
    const pool = createPool(url, { max: 10 });
    say(`${set.set}: filling ${ROWS} rows`);
    await fillOthers(pool, set);
    await set.fill(pool, ROWS);
    await pool.query(`vacuum (analyze) strata.${set.set}`);
    const questions = await withClient(pool, (client) => drawQuestions(client, set));
    const before = await withClient(pool, (client) => askQuestions(client, set, questions));
    results.push(...(await idle(pool, url, set, runs, say)));
    const { bytes_before, bytes_after } = await consolidate(pool, set, true);
    const after = await withClient(pool, (client) => askQuestions(client, set, questions));
    const compare = (name: string, value: number, unit: string, reference: number): void =>
      void results.push(result(BENCH, `${set.set} ${name}`, value, unit, reference));
    compare('disk of the week', bytes_after / 1e6, 'MB', bytes_before / 1e6);
    compare(
      'look-up of account and asset in the week, 300 keys',
      after.lookup_buffers,
      'buffers',
      before.lookup_buffers,
    );
    for (const [length, buffers] of Object.entries(after.range_buffers))
      compare(`time range of ${length}, 25 ranges`, buffers, 'buffers', before.range_buffers[length]!);
    compare('planning of an unpruned look-up', after.planning_ms * 1000, 'µs', before.planning_ms * 1000);
    compare('partitions', after.partitions, 'tables', before.partitions);
    await pool.end();
  });
  return results;
};

/** The week and, where asked, all others. */
const consolidate = async (
  pool: Pool,
  { set }: BenchSet,
  all: boolean,
  onEvent?: (event: ConsolidateEvent) => void,
): Promise<{ bytes_before: number; bytes_after: number; root_locked_ms: number }> => {
  const plan = await planConsolidate(pool, set, { now: NOW, ...(all ? {} : { weeks: [BIG_WEEK] }) });
  const { weeks } = await applyConsolidate(pool, plan, { ...(onEvent !== undefined && { onEvent }) });
  const failed = weeks.find(({ error }) => error !== null);
  const big = weeks.find(({ week }) => week === BIG_WEEK.toISOString());
  if (big === undefined || failed !== undefined) throw new Error(failed?.error ?? plan.notes.join('\n'));
  return {
    bytes_before: big.bytes_before ?? 0,
    bytes_after: big.bytes_after ?? 0,
    root_locked_ms: big.root_locked_ms ?? 0,
  };
};

/** Ours and the references in turns; ours is undone each time. Two users of another week measure what they wait. */
const idle = async (
  pool: Pool,
  url: string,
  set: BenchSet,
  runs: number,
  say: (text: string) => void,
): Promise<BenchResult[]> => {
  const times = { ours: [] as number[], bare: [] as number[] };
  const stalls = { ours: [] as number[], plain: [] as number[] };
  const locked: number[] = [];
  for (let run = 1; run <= runs; run++) {
    await pool.query('checkpoint');
    times.bare.push(await timed(() => bareCopy(pool, set)));
    await pool.query('drop table strata.bare');
    await pool.query('checkpoint');
    times.ours.push(
      await timed(async () => {
        locked.push((await consolidate(pool, set, false)).root_locked_ms);
      }),
    );
    await undo(pool, set);
    // The stalls apart: their measuring takes time from the work.
    stalls.ours.push(await withUsers(url, set, () => lockSpans(pool, set)));
    await undo(pool, set);
    stalls.plain.push(await withUsers(url, set, () => wholeSpan(() => plainForm(pool, set))));
    say(
      `${set.set} run ${run}: ${Math.round(times.ours.at(-1)!)} ms, bare ${Math.round(times.bare.at(-1)!)} ms; root locked ${locked.at(-1)} ms; longest wait ${Math.round(stalls.ours.at(-1)!)} ms, plain ${Math.round(stalls.plain.at(-1)!)} ms`,
    );
  }
  return [
    result(
      BENCH,
      `${set.set} idle, against CREATE TABLE AS in the same order, key and indexes`,
      median(times.ours),
      'ms',
      median(times.bare),
    ),
    result(BENCH, `${set.set} root locked`, median(locked), 'ms', null),
    result(
      BENCH,
      `${set.set} longest wait of a query on another week, against the plain transaction`,
      median(stalls.ours),
      'ms',
      median(stalls.plain),
    ),
  ];
};

const undo = async (pool: Pool, { set }: BenchSet): Promise<void> => {
  const { weeks } = await applyUndoConsolidation(pool, await planUndoConsolidation(pool, set));
  const failed = weeks.find(({ error }) => error !== null);
  if (failed !== undefined) throw new Error(failed.error ?? '');
};

const timed = async (work: () => Promise<unknown>): Promise<number> => {
  const start = performance.now();
  await work();
  return performance.now() - start;
};

const weekOf = ({ set }: BenchSet): string => `strata.${set}_2024_01_14`;

/** The bare statements, with the same order, the same definitions of key and indexes. */
const bareCopy = (pool: Pool, set: BenchSet): Promise<void> =>
  withClient(pool, async (client) => {
    const key =
      set.set === 'balance_changes'
        ? 'account_address, asset_id, block_time, block_num, ordinal, source_id'
        : 'account_address, asset_id, "timestamp"';
    const brin = set.set === 'balance_changes' ? 'block_time, block_num' : '"timestamp"';
    await client.query(`set work_mem = '64MB'`);
    await client.query(
      `create table strata.bare as select * from ${weekOf(set)} order by date_bin('10 hours', ${set.time}, '${BIG_WEEK.toISOString()}'), ${key}`,
    );
    await client.query('reset work_mem');
    await client.query(`alter table strata.bare add primary key (${key}) with (fillfactor = 100)`);
    await client.query(`create index on strata.bare using brin (${brin}) with (pages_per_range = 16)`);
  });

/** What a script does: detach, copy, attach, in one transaction. It is rolled back, which frees the week for the next run. */
const plainForm = (pool: Pool, set: BenchSet): Promise<void> =>
  withClient(pool, async (client) => {
    const week = weekOf(set);
    const until = new Date(BIG_WEEK.getTime() + 7 * 86_400_000).toISOString();
    await client.query('begin');
    await client.query(`alter table strata.${set.set} detach partition ${week}`);
    await client.query(`create table strata.plain (like ${week} including all)`);
    await client.query(`insert into strata.plain select * from ${week}`);
    await client.query(
      `alter table strata.${set.set} attach partition strata.plain for values from ('${BIG_WEEK.toISOString()}') to ('${until}')`,
    );
    await client.query('rollback');
  });

/** A span of time, milliseconds of the process's clock. */
type Span = readonly [from: number, to: number];

/**
 * Runs work while a reader and a writer of another week go on; returns the longest that one of them took for a statement in
 * whose time one of the spans falls that work names. All else that makes them wait is the machine, busy with the copy.
 */
const withUsers = async (
  url: string,
  set: BenchSet,
  work: () => Promise<readonly Span[]>,
): Promise<number> => {
  const pool = createPool(url, { max: 2, synchronousCommit: 'off' });
  const other = `${set.time} >= '2024-02-11' and ${set.time} < '2024-02-18'`;
  const statements = [
    `select count(*) from strata.${set.set} where account_address = '\\x00' and ${other}`,
    `update strata.${set.set} set asset_id = asset_id where account_address = decode(md5('44') || '00000000', 'hex') and ${other}`,
  ];
  let done = false;
  const waits: Span[] = [];
  const users = statements.map((statement) =>
    withClient(pool, async (client) => {
      while (!done) {
        const start = performance.now();
        await client.query(statement);
        waits.push([start, performance.now()]);
      }
    }),
  );
  let spans: readonly Span[] = [];
  try {
    spans = await work();
  } finally {
    done = true;
    await Promise.all(users);
    await pool.end();
  }
  const met = waits.filter(([start, end]) => spans.some(([from, to]) => start < to && end > from));
  return met.reduce((longest, [start, end]) => Math.max(longest, end - start), 0);
};

/** Consolidates, and says when it asked for locks that others feel. */
const lockSpans = async (pool: Pool, set: BenchSet): Promise<readonly Span[]> => {
  const spans: Span[] = [];
  let from = 0;
  await consolidate(pool, set, false, ({ kind, ...event }) => {
    if (!('step' in event) || !/^(?:capture|swap) /u.test(event.step)) return;
    if (kind === 'step') from = performance.now();
    else spans.push([from, performance.now()]);
  });
  return spans;
};

/** All the time that work takes. */
const wholeSpan = async (work: () => Promise<void>): Promise<readonly Span[]> => {
  const from = performance.now();
  await work();
  return [[from, performance.now()]];
};
