/** The bulk fold of one week, against COPYing the same rows into a table without indexes. */
import { createPool, withClient } from '../../src/db/pool.ts';
import { migrate } from '../../src/db/migrate.ts';
import type { Client } from '../../src/db/query.ts';
import type { BenchOptions } from '../bench.ts';
import { withScratchServer } from '../scratch.ts';
import { FIRST_WEEK, HISTORY } from './balances-history.ts';
import { median, result, type BenchResult } from './result.ts';

/** Changes of the week. */
const CHANGES = 2_000_000;

/** The case `bulk`: seconds, and the ratio to the COPY. */
export const bulkCase = async ({ runs, say }: BenchOptions): Promise<BenchResult[]> => {
  const folds: number[] = [];
  const copies: number[] = [];
  await withScratchServer(async (url) => {
    await migrate({ connectionString: url });
    const pool = createPool(url, { synchronousCommit: 'off' });
    await withClient(pool, async (client) => {
      await makeWeek(client);
      for (let run = 1; run <= runs; run++) {
        copies.push(await copyCost(client));
        folds.push(await foldCost(client));
        say(`bulk run ${run}: fold ${folds.at(-1)!.toFixed(1)} s, COPY ${copies.at(-1)!.toFixed(1)} s`);
      }
    });
    await pool.end();
  });
  return [
    result(
      'balances',
      `bulk fold of a week of ${CHANGES.toLocaleString('en')} changes`,
      median(folds),
      's',
      median(copies),
    ),
  ];
};

const makeWeek = async (client: Client): Promise<void> => {
  await client.query(
    `insert into strata.assets (asset_id, network, standard, asset_key) select n, 'bench', 'erc20', n::text from generate_series(0, ${HISTORY.assets - 1}) n`,
  );
  for (const set of ['balance_changes', 'account_balances'])
    await client.query(`select strata.ensure_weeks($1, $2, $2)`, [set, FIRST_WEEK]);
  await client.query(`insert into strata.balance_changes
    select decode(md5(k::text) || '00000000', 'hex'), k % ${HISTORY.assets}, timestamptz '${FIRST_WEEK}' + interval '168 hours' * (n / ${CHANGES + 1}.0), n, 0, 1, (random() * 1e18)::numeric(40, 0)
      from (select n, floor(random() * ${HISTORY.keys})::int as k from generate_series(1, ${CHANGES}) n) drawn order by 1, 2`);
  await client.query('vacuum analyze strata.balance_changes');
};

const seconds = async (work: () => Promise<unknown>): Promise<number> => {
  const started = performance.now();
  await work();
  return (performance.now() - started) / 1000;
};

const foldCost = async (client: Client): Promise<number> => {
  await client.query('truncate strata.account_balances, strata.account_balances_current');
  await client.query('update strata.balance_status set stale = false');
  await client.query('checkpoint');
  return seconds(() => client.query('select strata.fold_week($1)', [FIRST_WEEK]));
};

/** The same rows, through COPY, from a file the server wrote: its own format, no client in the way. */
const copyCost = async (client: Client): Promise<number> => {
  await client.query('drop table if exists public.plain_changes');
  await client.query('create table public.plain_changes (like strata.balance_changes)');
  const { rows } = await client.query<{ dir: string }>(`select current_setting('data_directory') as dir`);
  const file = `${rows[0]!.dir}/bench-changes.bin`;
  await client.query(
    `copy (select * from strata.balance_changes order by block_time) to '${file}' (format binary)`,
  );
  await client.query('checkpoint');
  return seconds(() => client.query(`copy public.plain_changes from '${file}' (format binary)`));
};
