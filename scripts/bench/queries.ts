/** What questions cost: the queries of a layout that many use on both layouts, balances as of a time, holders over time. */
import type { ClientBase } from 'pg';
import { createPool, withClient } from '../../src/db/pool.ts';
import { migrate } from '../../src/db/migrate.ts';
import type { BenchOptions } from '../bench.ts';
import { withScratchServer } from '../scratch.ts';
import {
  addressOf,
  bytesOf,
  createLayouts,
  indexActivities,
  insertReference,
  loadWeek,
  PARTS,
  settle,
  SHAPE,
  weekText,
  type LoadCost,
} from './queries-layouts.ts';
import { explained, type Cost } from './explained.ts';
import { streamCases } from './queries-stream.ts';
import { median, result, type BenchResult } from './result.ts';

/** Lengths of the history at which a balance as of a time is asked. */
const SHORT_WEEKS = 13;
/** Balances asked as of a time. */
const LOOKUPS = 500;

/** Yields `load`, `disk`, `query …`, `as-of …` and `holders …`, which share their data; then `stream …`. */
export async function* queriesBench(options: BenchOptions): AsyncGenerator<BenchResult> {
  if (!options.only.startsWith('stream')) yield* await layoutsSideBySide(options);
  if ('stream csv stream arrow'.includes(options.only)) yield* await streamCases(options);
}

const layoutsSideBySide = async (options: BenchOptions): Promise<BenchResult[]> => {
  const results: BenchResult[] = [];
  await withScratchServer(async (url) => {
    await migrate({ connectionString: url });
    const pool = createPool(url);
    await withClient(pool, async (client) => {
      await client.query(`set work_mem = '64MB'`);
      results.push(...(await measure(client, options)));
    });
    await pool.end();
  });
  return results.filter(({ case: name }) => name.includes(options.only));
};

const measure = async (client: ClientBase, options: BenchOptions): Promise<BenchResult[]> => {
  const { runs, say } = options;
  await createLayouts(client);
  const costs: LoadCost[] = [];
  for (let week = 0; week < SHORT_WEEKS; week++) costs.push(await loadWeek(client, week));
  await settle(client, SHORT_WEEKS);
  const short = await lookUp(client, SHORT_WEEKS);
  say(`${SHORT_WEEKS} weeks: a balance as of a time in ${short.toFixed(2)} ms`);
  for (let week = SHORT_WEEKS; week < SHAPE.weeks; week++) {
    costs.push(await loadWeek(client, week));
    if (week % 10 === 0) say(`${week} weeks loaded`);
  }
  const indexed = await indexActivities(client);
  const sum = (of: (cost: LoadCost) => number): number => costs.reduce((total, cost) => total + of(cost), 0);
  const parts = PARTS.map((part) => [part, sum(({ ours }) => ours[part])] as const);
  const ours = parts.reduce((total, [, spent]) => total + spent, 0);
  const rows = sum((cost) => cost.rows);
  say(
    `load: ${parts.map(([part, spent]) => `${part} ${spent.toFixed(1)} s`).join(', ')}, index ${indexed.toFixed(1)} s`,
  );
  await settle(client, SHAPE.weeks);
  say('settled');
  const long = await lookUp(client, SHAPE.weeks);
  const bytes = await bytesOf(client, 'strata.account_balances');
  return [
    result(
      'queries',
      'load, rows a second',
      rows / (ours + indexed),
      'rows/s',
      rows / sum((cost) => cost.reference),
    ),
    result('queries', 'disk', bytes, 'bytes', await bytesOf(client, 'reference.account_balances')),
    ...(await layoutCases(client, runs)),
    result(
      'queries',
      `as-of balance, ${SHAPE.weeks} weeks against ${SHORT_WEEKS}, microseconds`,
      long * 1000,
      'µs',
      short * 1000,
    ),
    ...(await holdersCases(client, options)),
    // Last, for it adds a week to the reference.
    result(
      'queries',
      'load against batched INSERT, rows a second',
      rows / (ours + indexed),
      'rows/s',
      await insertReference(client),
    ),
  ];
};

/** The questions of the layout's own guide, in both dialects; `{week}` and `{next}` bound a week. */
const GUIDE: readonly {
  readonly name: string;
  readonly ours: string;
  readonly reference: string;
  readonly once?: true;
}[] = [
  {
    name: 'query account and range',
    ours: `account_address = strata.account('{account}') and "timestamp" >= '{week}' and "timestamp" < '{next}'`,
    reference: `account_address = '{account}' and "timestamp" >= '{week}' and "timestamp" < '{next}'`,
  },
  {
    name: 'query range only',
    ours: `"timestamp" >= '{week}' and "timestamp" < '{next}'`,
    reference: `"timestamp" >= '{week}' and "timestamp" < '{next}'`,
  },
  {
    name: 'query account over all time',
    ours: `account_address = strata.account('{account}')`,
    reference: `account_address = '{account}'`,
  },
  {
    name: 'query activity and range',
    ours: `asset_id = {activity} and "timestamp" >= '{week}' and "timestamp" < '{next}'`,
    reference: `activity_id = 'activity_{activity}' and "timestamp" >= '{week}' and "timestamp" < '{next}'`,
  },
  {
    name: 'query activity only',
    ours: 'asset_id = {activity}',
    reference: `activity_id = 'activity_{activity}'`,
    once: true,
  },
];

/** Runs of a question with other values each, a question that reads everything fewer times. */
const RUNS = { many: 60, few: 5 } as const;

const layoutCases = async (client: ClientBase, runs: number): Promise<BenchResult[]> => {
  const results: BenchResult[] = [];
  for (const { name, ours, reference, once } of GUIDE) {
    const costs = { ours: [] as Cost[], reference: [] as Cost[] };
    const count = once === true ? Math.max(runs, RUNS.few) : RUNS.many;
    for (let run = -2; run < count; run++) {
      const week = Math.floor(Math.random() * SHAPE.weeks);
      const account = addressOf(Math.floor(Math.random() * SHAPE.accounts));
      const fill = (text: string): string =>
        text
          .replaceAll('{account}', account)
          .replaceAll('{activity}', String(run + 2))
          .replaceAll('{week}', weekText(week))
          .replaceAll('{next}', weekText(week + 1));
      const cost = {
        ours: await explained(client, `select * from strata.account_balances where ${fill(ours)}`),
        reference: await explained(
          client,
          `select * from reference.account_balances where ${fill(reference)}`,
        ),
      };
      if (run < 0) continue; // the first of a session fill its caches
      costs.ours.push(cost.ours);
      costs.reference.push(cost.reference);
    }
    for (const [what, unit, of] of [
      ['time', 'µs', ({ planning_ms, execution_ms }: Cost) => (planning_ms + execution_ms) * 1000],
      ['buffers', 'buffers', ({ buffers }: Cost) => buffers],
    ] as const)
      results.push(
        result(
          'queries',
          `${name}, ${what}`,
          median(costs.ours.map(of)),
          unit,
          median(costs.reference.map(of)),
        ),
      );
  }
  return results;
};

/** Median milliseconds of a balance as of a random time, there and back; of keys as often as they have rows, warm. */
const lookUp = async (client: ClientBase, weeks: number): Promise<number> => {
  const { rows } = await client.query<{ account: Buffer; asset: string }>(
    `select account_address as account, asset_id::text as asset from strata.account_balances tablesample bernoulli (1)
      where "timestamp" < $2 order by random() limit $1`,
    [LOOKUPS, weekText(weeks)],
  );
  const span = Date.parse(weekText(weeks)) - Date.parse(weekText(0));
  const asked = rows.map(({ account, asset }) => [
    account,
    asset,
    new Date(Date.parse(weekText(0)) + Math.random() * span).toISOString(),
  ]);
  const times: number[] = [];
  for (const pass of ['warm', 'counted']) {
    for (const values of asked) {
      const started = performance.now();
      await client.query({ name: 'as-of', text: 'select strata.balance_at($1, $2, $3)', values });
      if (pass === 'counted') times.push(performance.now() - started);
    }
  }
  return median(times);
};

/**
 * Holders of one asset over ever longer spans from the first week on: the cost of a change must stay what it is. (A span that
 * begins later also reads the asset's earlier rows, for what its accounts brought along.)
 */
const holdersCases = async (client: ClientBase, { runs, say }: BenchOptions): Promise<BenchResult[]> => {
  const results: BenchResult[] = [];
  let shorter: { readonly weeks: number; readonly ns: number } | null = null;
  for (const weeks of [13, 26, 52, 104]) {
    const span = [weekText(0), weekText(weeks)];
    const { rows } = await client.query<{ changes: number }>(
      `select count(*) as changes from strata.account_balances where asset_id = 1 and "timestamp" < $1`,
      [weekText(weeks)],
    );
    const times: number[] = [];
    for (let run = 0; run < runs; run++) {
      const started = performance.now();
      await client.query(`select * from strata.holders_over_time(1, $1, $2, 'week')`, span);
      times.push(performance.now() - started);
    }
    say(`holders over ${weeks} weeks: ${Math.round(median(times))} ms for ${rows[0]!.changes} changes`);
    const ns = (median(times) * 1e6) / rows[0]!.changes;
    if (shorter !== null) {
      const name = `holders over time, nanoseconds a change, ${weeks} weeks against ${shorter.weeks}`;
      results.push(result('queries', name, ns, 'ns', shorter.ns));
    }
    shorter = { weeks, ns };
  }
  return results;
};
