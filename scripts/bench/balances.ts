/** What keeping balances exact costs: against the length of the history, against recomputing, against loading alone. */
import type { Client } from '../../src/db/query.ts';
import { createPool, withClient } from '../../src/db/pool.ts';
import { migrate } from '../../src/db/migrate.ts';
import type { BenchOptions } from '../bench.ts';
import { withScratchServer } from '../scratch.ts';
import { FIRST_WEEK, growHistory, HISTORY } from './balances-history.ts';
import { bulkCase } from './balances-bulk.ts';
import { liveCase } from './balances-live.ts';
import { explained, type Cost } from './explained.ts';
import { median, result, type BenchResult } from './result.ts';

/** Lengths of the history, in weeks. */
const LENGTHS = [13, 26, 52, 104];
/** Keys of the batch that is folded. */
const BATCH_KEYS = 2000;
/** How far back a late batch reaches. */
const LATE_WEEKS = 26;
/**
 * Runs before those that count, of ours and of what it is compared with alike: after a history was grown and checkpointed the
 * first ones find its pages cold, and its rows without hints.
 */
const WARM_UPS = 5;

/** Yields `incremental`, `late`, `bulk` and `live`. */
export async function* balancesBench(options: BenchOptions): AsyncGenerator<BenchResult> {
  const wanted = (name: string): boolean => name.includes(options.only);
  if (['incremental', 'late'].some(wanted)) yield* await onHistory(options);
  if (wanted('bulk')) yield* await bulkCase(options);
  if (wanted('live')) yield* await liveCase(options);
}

const onHistory = async ({ runs, say }: BenchOptions): Promise<BenchResult[]> => {
  const results: BenchResult[] = [];
  await withScratchServer(async (url) => {
    await migrate({ connectionString: url });
    const pool = createPool(url, { synchronousCommit: 'off' });
    await withClient(pool, async (client) => {
      const costs = new Map<number, number>();
      for (const weeks of LENGTHS) {
        await growHistory(client, weeks, say);
        costs.set(weeks, (await foldCost(client, weeks, 0, runs)).ms);
        const base = costs.get(LENGTHS[0]!)!;
        results.push(result('balances', `incremental ${weeks} weeks`, costs.get(weeks)!, 'ms', base));
      }
      const weeks = LENGTHS.at(-1)!;
      const fold = await foldCost(client, weeks, 0, runs);
      const again = await statementCost(client, REAGGREGATE, 1, Math.min(runs, 3));
      const state = await statementCost(client, stateAndGap(weeks), WARM_UPS, runs);
      results.push(
        result('balances', 'incremental against re-aggregating the history, time', again.ms, 'ms', fold.ms),
        result(
          'balances',
          'incremental against re-aggregating the history, buffers',
          again.buffers,
          'buffers',
          fold.buffers,
        ),
        result('balances', 'incremental against reading the whole state plus a gap', state.ms, 'ms', fold.ms),
      );
      const late = await foldCost(client, weeks, LATE_WEEKS, runs);
      results.push(result('balances', `late by ${LATE_WEEKS} weeks`, late.ms, 'ms', fold.ms));
    });
    await pool.end();
  });
  return results;
};

/** The whole history summed again: what a model without a state does. */
const REAGGREGATE = `select account_address, asset_id, date_bin('1 hour', block_time, timestamptz '1970-01-01 00:00:00+00') as period,
  sum(sum(delta)) over (partition by account_address, asset_id order by date_bin('1 hour', block_time, timestamptz '1970-01-01 00:00:00+00'))
  from strata.balance_changes group by 1, 2, 3`;

/**
 * The pattern this improves on, run for its last three days: the newest balance of every key from the whole state (older
 * than five days) and its own output in the gap (seven to three days ago), then the new days on top.
 */
const stateAndGap = (weeks: number): string => {
  const daysBefore = (days: number): string =>
    `timestamptz '${FIRST_WEEK}' + interval '${weeks * 168 - 24 * days} hours'`;
  return `with prior as (
    select distinct on (account_address, asset_id) account_address, asset_id, balance
      from (select account_address, asset_id, balance, "timestamp" from strata.account_balances_current where "timestamp" < ${daysBefore(5)}
            union all
            select account_address, asset_id, balance, "timestamp" from strata.account_balances
             where "timestamp" >= ${daysBefore(7)} and "timestamp" < ${daysBefore(3)}) known
     order by account_address, asset_id, "timestamp" desc
  ), fresh as (
    select account_address, asset_id, date_bin('1 hour', block_time, timestamptz '1970-01-01 00:00:00+00') as period, sum(delta) as delta
      from strata.balance_changes where block_time >= ${daysBefore(3)} group by 1, 2, 3
  )
  select f.account_address, f.asset_id, f.period, coalesce(p.balance, 0) + sum(f.delta) over (partition by f.account_address, f.asset_id order by f.period)
    from fresh f left join prior p using (account_address, asset_id)`;
};

/** The middle of each. */
const middle = (costs: readonly Cost[]): { readonly ms: number; readonly buffers: number } => ({
  ms: median(costs.map(({ execution_ms }) => execution_ms)),
  buffers: median(costs.map(({ buffers }) => buffers)),
});

const statementCost = async (
  client: Client,
  statement: string,
  warmUps: number,
  runs: number,
): Promise<ReturnType<typeof middle>> => {
  const costs: Cost[] = [];
  for (let run = -warmUps; run < runs; run++) {
    const cost = await explained(client, statement);
    if (run >= 0) costs.push(cost);
  }
  return middle(costs);
};

/** The fold of a batch of {@link BATCH_KEYS} known keys, so many weeks before the end of the history. */
const foldCost = async (
  client: Client,
  weeks: number,
  lateWeeks: number,
  runs: number,
): Promise<ReturnType<typeof middle>> => {
  const costs: Cost[] = [];
  const hours = (weeks - lateWeeks) * 168 - 1;
  for (let run = -WARM_UPS; run < runs; run++) {
    await client.query('begin');
    await client.query('select strata.open_deltas()');
    await client.query(
      `insert into pg_temp.balance_deltas select * from (
         select distinct on (k) decode(md5(k::text) || '00000000', 'hex'), k % ${HISTORY.assets}, timestamptz '${FIRST_WEEK}' + interval '${hours} hours', (random() * 1e18)::numeric(40, 0), 1
           from (select floor(random() * ${HISTORY.keys})::int as k from generate_series(1, ${BATCH_KEYS * 2})) drawn) batch limit ${BATCH_KEYS}`,
    );
    const cost = await explained(client, 'select strata.fold_deltas()');
    await client.query('commit');
    if (run >= 0) costs.push(cost);
  }
  return middle(costs);
};
