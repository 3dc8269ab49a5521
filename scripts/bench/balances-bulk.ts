/** The bulk fold of one week on two connections, against COPYing the same rows into a table without indexes on one. */
import { pipeline } from 'node:stream/promises';
import { Readable } from 'node:stream';
import { from as copyFrom, to as copyTo } from 'pg-copy-streams';
import pg from 'pg';
import { createPool, withClient } from '../../src/db/pool.ts';
import { migrate } from '../../src/db/migrate.ts';
import type { Client, Pool } from '../../src/db/query.ts';
import { foldWeek } from '../../src/warehouse/balances.ts';
import type { BenchOptions } from '../bench.ts';
import { withScratchServer } from '../scratch.ts';
import { FIRST_WEEK, HISTORY } from './balances-history.ts';
import { median, result, type BenchResult } from './result.ts';
import { timed } from '../server-cpu.ts';

/** Changes of the week. */
const CHANGES = 2_000_000;

/** Connections that fold. */
const CONNECTIONS = 2;

/** The case `bulk`: seconds and the ratio to the COPY, by the clock and by the server's CPU. */
export const bulkCase = async ({ runs, say }: BenchOptions): Promise<BenchResult[]> => {
  const folds: Cost[] = [];
  const copies: Cost[] = [];
  await withScratchServer(async (url) => {
    await migrate({ connectionString: url });
    const pool = createPool(url, { synchronousCommit: 'off' });
    await withClient(pool, async (client) => {
      await makeWeek(client);
      const rows = await rowsInMemory(url);
      for (let run = 1; run <= runs; run++) {
        const copy = await copyCost(client, url, rows);
        const fold = await foldCost(client, pool);
        copies.push(copy);
        folds.push(fold);
        say(`bulk run ${run}: fold ${shown(fold)}, COPY ${shown(copy)}`);
      }
    });
    await pool.end();
  });
  const what = `bulk fold of a week of ${CHANGES.toLocaleString('en')} changes`;
  const middle = (costs: readonly Cost[], of: keyof Cost): number => median(costs.map((cost) => cost[of]));
  return [
    result('balances', what, middle(folds, 'seconds'), 's', middle(copies, 'seconds')),
    result(
      'balances',
      `${what}, CPU of one of its ${CONNECTIONS} connections`,
      middle(folds, 'cpu') / CONNECTIONS,
      's',
      middle(copies, 'cpu'),
    ),
  ];
};

type Cost = Awaited<ReturnType<typeof timed>>;

const shown = ({ seconds, cpu }: Cost): string => `${seconds.toFixed(1)} s (CPU ${cpu.toFixed(1)} s)`;

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

const foldCost = async (client: Client, pool: Pool): Promise<Cost> => {
  await client.query('truncate strata.account_balances, strata.account_balances_current');
  await client.query('update strata.balance_status set stale = false');
  await client.query('checkpoint');
  return timed(client, () => foldWeek(pool, { week: new Date(FIRST_WEEK), workers: CONNECTIONS }));
};

/** Bytes handed to the socket at a time. */
const CHUNK_BYTES = 256 * 1024;

/** The week in PostgreSQL's binary format, in order of time, as a load would send it. */
const rowsInMemory = async (url: string): Promise<readonly Buffer[]> => {
  const client = new pg.Client(url);
  await client.connect();
  const chunks: Buffer[] = [];
  let part: Buffer[] = [];
  let bytes = 0;
  const rows = client.query(
    copyTo('copy (select * from strata.balance_changes order by block_time) to stdout (format binary)'),
  );
  for await (const piece of rows as AsyncIterable<Buffer>) {
    part.push(piece);
    bytes += piece.length;
    if (bytes < CHUNK_BYTES) continue;
    chunks.push(Buffer.concat(part));
    part = [];
    bytes = 0;
  }
  chunks.push(Buffer.concat(part));
  await client.end();
  return chunks;
};

/** The same rows through COPY, from memory over one connection: the reference of the bench `ingest`. */
const copyCost = async (client: Client, url: string, rows: readonly Buffer[]): Promise<Cost> => {
  await client.query('drop table if exists public.plain_changes');
  await client.query('create table public.plain_changes (like strata.balance_changes)');
  await client.query('checkpoint');
  const loader = new pg.Client({ connectionString: url, options: '-c synchronous_commit=off' });
  await loader.connect();
  const taken = await timed(client, () =>
    pipeline(
      Readable.from(rows),
      loader.query(copyFrom('copy public.plain_changes from stdin (format binary)')),
    ),
  );
  await loader.end();
  return taken;
};
