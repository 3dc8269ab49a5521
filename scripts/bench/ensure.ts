/** Creating weeks ahead under load: the longest stall of a reader and of a writer that loop on the root meanwhile. */
import { migrate } from '../../src/db/migrate.ts';
import { createPool } from '../../src/db/pool.ts';
import type { Pool } from '../../src/db/query.ts';
import { runMaintenance } from '../../src/jobs/maintenance.ts';
import type { BenchOptions } from '../bench.ts';
import { withScratchServer } from '../scratch.ts';
import { startLoop, type Seen } from './ensure-loop.ts';
import { median, result, type BenchResult } from './result.ts';

const WEEKS = 104;
const NOW = new Date('2026-01-07T00:00:00Z');
const WEEK_MS = 604_800_000;

/** The three sets of the schema and one of a user's, with four hash partitions a week each. */
const FOURTH_SET = `
  create table public.visits (at timestamptz not null, who bytea not null, n bigint) partition by range (at);
  select strata.create_partition_set('visits', 'public.visits', 'at', 'who')`;

/** What the reader looks up. */
const ROWS_READ = `insert into strata.balance_changes select '\\x0102', 1, '2026-01-05', n, 0, 1, 1 from generate_series(1, 100) n`;

/** The way that comes to mind: as many weeks in one transaction, each by PARTITION OF, which locks the root ACCESS EXCLUSIVE. */
const NAIVE = `do $$ declare d timestamptz; t text; begin
  for week in 1 .. ${WEEKS} loop
    d := timestamptz '2026-01-04 00:00+00' + week * interval '168 hours';
    t := 'balance_changes_naive_' || week;
    execute format('create table strata.%I partition of strata.balance_changes for values from (%L) to (%L) partition by hash (account_address)', t, d, d + interval '168 hours');
    for remainder in 0 .. 3 loop
      execute format('create table strata.%I partition of strata.%I for values with (modulus 4, remainder %s)', t || '_hash_' || remainder, t, remainder);
    end loop;
  end loop; end $$`;

/** Tables of the same shape that nobody reads: what the machine does to the loops when a third session is busy. */
const BESIDE = `create table public.beside (like strata.balance_changes including all) partition by hash (account_address)`;
const LEAF_BESIDE = (remainder: number): string =>
  `create table public.beside_${remainder} partition of public.beside for values with (modulus 4, remainder ${remainder})`;

/**
 * Yields the longest stall of the reader and of the writer, median of the runs (reference: as many tables made that nobody
 * uses), the naive way against it, and how long the whole takes.
 */
export async function* ensureBench({ runs, say, only }: BenchOptions): AsyncGenerator<BenchResult> {
  if (!'stall'.includes(only)) return;
  const beside: Pair[] = [];
  const ours: Pair[] = [];
  const naive: Pair[] = [];
  const seconds: number[] = [];
  for (let run = 1; run <= runs; run++) {
    await withScratchServer(async (url) => {
      await migrate({ connectionString: url });
      const pool = createPool(url);
      await pool.query(FOURTH_SET);
      await ensure(pool, 0);
      await timed(beside, pool, url, () => makeBeside(pool));
      seconds.push(await timed(ours, pool, url, () => ensure(pool, WEEKS)));
      await dropAhead(pool);
      await timed(naive, pool, url, () => pool.query(NAIVE));
      await pool.end();
      say(
        `ensure run ${run}: ${seconds.at(-1)!.toFixed(1)} s; longest stall of reader and writer: ours ${told(ours)}, tables beside ${told(beside)}, one transaction of PARTITION OF ${told(naive)}`,
      );
    });
  }
  const longest = (pairs: readonly Pair[], who: keyof Pair): number =>
    median(pairs.map((pair) => pair[who].longest_ms));
  for (const who of ['reader', 'writer'] as const) {
    const stall = longest(ours, who);
    yield result(
      'ensure',
      `${WEEKS} weeks × 4 sets, longest stall of a ${who}`,
      stall,
      'ms',
      longest(beside, who),
    );
    yield result(
      'ensure',
      `${WEEKS} weeks of one set by PARTITION OF in a transaction, longest stall of a ${who}`,
      longest(naive, who),
      'ms',
      stall,
    );
  }
  yield result('ensure', `${WEEKS} weeks × 4 sets, whole`, median(seconds) * 1000, 'ms', null);
}

const makeBeside = async (pool: Pool): Promise<void> => {
  for (let week = 0; week < WEEKS * 4; week++) {
    await pool.query([BESIDE, ...[0, 1, 2, 3].map(LEAF_BESIDE)].join(';'));
    await pool.query(`alter table public.beside rename to beside_week_${week}`);
    for (const remainder of [0, 1, 2, 3])
      await pool.query(`alter table public.beside_${remainder} rename to beside_week_${week}_${remainder}`);
  }
};

interface Pair {
  readonly reader: Seen;
  readonly writer: Seen;
}

const told = (pairs: readonly Pair[]): string => {
  const { reader, writer } = pairs.at(-1)!;
  return `${reader.longest_ms.toFixed(1)} and ${writer.longest_ms.toFixed(1)} ms of ${reader.statements} and ${writer.statements}`;
};

/** The present week and so many more, in every set. */
const ensure = async (pool: Pool, ahead: number): Promise<void> => {
  const runs = await runMaintenance({
    pool,
    verb: 'ensure',
    now: NOW,
    weeks: Array.from({ length: ahead + 1 }, (_unused, week) => new Date(NOW.getTime() + week * WEEK_MS)),
    signal: new AbortController().signal,
  });
  const failed = runs.find(({ error }) => error !== null);
  if (failed?.error) throw failed.error;
};

/** So that the naive way makes the same weeks. */
const dropAhead = async (pool: Pool): Promise<void> => {
  const { rows } = await pool.query<{ week: string }>(
    `select format('%I.%I', 'strata', partition_name) as week from strata.week_info('balance_changes') where lower_bound > $1`,
    [NOW],
  );
  for (const { week } of rows) await pool.query(`drop table ${week}`);
};

/** Runs `work` while a reader and a writer loop in processes of their own; returns its seconds. */
const timed = async (
  pairs: Pair[],
  pool: Pool,
  url: string,
  work: () => Promise<unknown>,
): Promise<number> => {
  await pool.query('truncate strata.balance_changes');
  await pool.query(ROWS_READ);
  const loops = { reader: await startLoop(url, 'reader'), writer: await startLoop(url, 'writer') };
  const began = performance.now();
  await work();
  const seconds = (performance.now() - began) / 1000;
  pairs.push({ reader: await loops.reader.stop(), writer: await loops.writer.stop() });
  return seconds;
};
