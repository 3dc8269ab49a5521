/** Weeks as the loaders fill them, and what their queries cost: the ground of the consolidation benchmark. */
import type { Client, Pool } from '../../src/db/query.ts';
import { median } from './result.ts';

/** Start of the big week, a Sunday; the others lie around it. */
export const BIG_WEEK = new Date('2024-01-14T00:00:00Z');
const OTHER_WEEKS = 12;
const OTHER_ROWS = 20_000;

/** A set that is measured. */
export interface BenchSet {
  readonly set: 'balance_changes' | 'account_balances';
  readonly time: string;
  /** Fills the big week. */
  fill(pool: Pool, rows: number): Promise<void>;
}

const START = `timestamptz '${BIG_WEEK.toISOString()}'`;
const ACCOUNTS = 300_000;
/** A few accounts do most of it. */
const DRAW = `floor(power(random(), 3) * ${ACCOUNTS})::int`;
const account = (k: string): string => `decode(md5(${k}::text) || '00000000', 'hex')`;

/** Changes that are sorted together, as the loader does it. */
const SORTED_ROWS = 200_000;
/** Loads of a live week: each hour's rows are met twice. */
const LIVE_BATCHES = 336;

const fillChanges = async (pool: Pool, rows: number): Promise<void> => {
  const batches = Math.ceil(rows / SORTED_ROWS);
  for (let batch = 0; batch < batches; batch++) {
    await pool.query(`insert into strata.balance_changes
      select a, asset, at, block, ordinal, 1, delta from (
        select ${account('k')} as a, k % 20 as asset, ${START} + interval '168 hours' * ((${batch * SORTED_ROWS} + n) / ${rows + 1}.0) as at,
               (${batch * SORTED_ROWS} + n) / 200 as block, n as ordinal, (random() * 1e18)::numeric(40, 0) as delta
          from (select n, ${DRAW} as k from generate_series(1, ${Math.min(SORTED_ROWS, rows - batch * SORTED_ROWS)}) n) d) c
      order by hashtext(a::text) % 4, a, asset, at, block, ordinal`);
  }
};

const fillBalances = async (pool: Pool, rows: number): Promise<void> => {
  // About a tenth of what is drawn meets its own hour again.
  const drawn = Math.ceil((rows * 1.15) / LIVE_BATCHES);
  for (let batch = 0; batch < LIVE_BATCHES; batch++) {
    await pool.query(`insert into strata.account_balances as b
      select ${account('k')} as a, k % 20 as asset, ${START} + interval '1 hour' * ${Math.floor(batch / 2)}, sum(delta), count(*)
        from (select ${DRAW} as k, (random() * 1e18)::numeric(40, 0) as delta from generate_series(1, ${drawn})) d
       group by 1, 2 order by 1, 2
      on conflict (account_address, asset_id, "timestamp") do update set balance = excluded.balance, change_count = b.change_count + excluded.change_count`);
  }
};

export const SETS: readonly BenchSet[] = [
  { set: 'balance_changes', time: 'block_time', fill: fillChanges },
  { set: 'account_balances', time: '"timestamp"', fill: fillBalances },
];

/** Makes the weeks around the big one, small but there. */
export const fillOthers = async (pool: Pool, { set }: BenchSet): Promise<void> => {
  await pool.query(
    `select strata.ensure_weeks('${set}', ${START}, ${START} + interval '${OTHER_WEEKS} weeks')`,
  );
  const columns =
    set === 'balance_changes'
      ? `${account('n')}, n % 20, at, n, 0, 1, n`
      : `${account('n')}, n % 20, date_trunc('hour', at), n, 1`;
  await pool.query(`insert into strata.${set} select ${columns} from generate_series(1, ${OTHER_ROWS}) n,
    lateral (select ${START} + interval '1 week' * (1 + n % ${OTHER_WEEKS}) + interval '1 second' * n as at) t`);
};

interface Explained {
  readonly 'QUERY PLAN': readonly [
    {
      readonly Plan: { readonly 'Shared Hit Blocks': number; readonly 'Shared Read Blocks': number };
      readonly 'Planning Time': number;
    },
  ];
}

const explain = async (client: Client, query: string): Promise<{ buffers: number; planning_ms: number }> => {
  const { rows } = await client.query<Explained>(
    `explain (analyze, buffers, timing off, summary on, format json) ${query}`,
  );
  const [plan] = rows[0]!['QUERY PLAN'];
  return {
    buffers: plan.Plan['Shared Hit Blocks'] + plan.Plan['Shared Read Blocks'],
    planning_ms: plan['Planning Time'],
  };
};

/** Queries that are asked before and after, drawn once. */
export interface Questions {
  readonly lookups: readonly string[];
  readonly ranges: Readonly<Record<string, readonly string[]>>;
  readonly unpruned: string;
}

const within = (time: string, from: string, hours: number): string =>
  `${time} >= ${from} and ${time} < ${from} + interval '${hours} hours'`;

/** Draws keys by their rows, as they are asked for, and instants of the week. */
export const drawQuestions = async (client: Client, { set, time }: BenchSet): Promise<Questions> => {
  const { rows } = await client.query<{ a: string; asset: string }>(
    `select encode(account_address, 'hex') as a, asset_id::text as asset from strata.${set} tablesample bernoulli (0.05) repeatable (7)
      where ${within(time, START, 168)} limit 300`,
  );
  const key = ({ a, asset }: { a: string; asset: string }): string =>
    `account_address = '\\x${a}' and asset_id = ${asset}`;
  const range = (hours: number): readonly string[] =>
    Array.from(
      { length: 25 },
      (_unused, n) =>
        `select count(*) from strata.${set} where ${within(time, `(${START} + interval '${(n * 7919) % ((168 - hours) * 60)} minutes')`, hours)}`,
    );
  return {
    lookups: rows.map(
      (row) => `select * from strata.${set} where ${key(row)} and ${within(time, START, 168)}`,
    ),
    ranges: { '1 hour': range(1), '6 hours': range(6), '1 day': range(24) },
    unpruned: `select count(*) from strata.${set} where ${key(rows[0]!)}`,
  };
};

/** What they cost. */
export interface Costs {
  readonly lookup_buffers: number;
  readonly range_buffers: Readonly<Record<string, number>>;
  readonly planning_ms: number;
  readonly partitions: number;
}

/** Asks them. */
export const askQuestions = async (
  client: Client,
  { set }: BenchSet,
  questions: Questions,
): Promise<Costs> => {
  const sum = async (queries: readonly string[]): Promise<number> => {
    let buffers = 0;
    for (const query of queries) buffers += (await explain(client, query)).buffers;
    return buffers;
  };
  await client.query('set max_parallel_workers_per_gather = 0');
  const range_buffers: Record<string, number> = {};
  for (const [length, queries] of Object.entries(questions.ranges))
    range_buffers[length] = await sum(queries);
  const planning: number[] = [];
  for (let n = 0; n < 15; n++) planning.push((await explain(client, questions.unpruned)).planning_ms);
  const { rows } = await client.query<{ n: number }>(
    `select count(*)::int as n from pg_partition_tree('strata.${set}')`,
  );
  const lookup_buffers = await sum(questions.lookups);
  await client.query('reset max_parallel_workers_per_gather');
  return { lookup_buffers, range_buffers, planning_ms: median(planning), partitions: rows[0]!.n };
};
