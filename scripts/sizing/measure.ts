/** Measures the rates on an embedded PostgreSQL: a week of 12,000 keys that all change every hour, 2 million changes. */
import { from as copyFrom, to as copyTo } from 'pg-copy-streams';
import { pipeline } from 'node:stream/promises';
import { Readable } from 'node:stream';
import { cpus } from 'node:os';
import { DELTA_COLUMNS } from '../../src/arrow/deltas.ts';
import { migrate } from '../../src/db/migrate.ts';
import { createPool, withClient } from '../../src/db/pool.ts';
import type { Client, Pool } from '../../src/db/query.ts';
import { foldWeek } from '../../src/warehouse/balances.ts';
import { createPartitionManager } from '../../src/warehouse/partitions/manager.ts';
import { withScratchServer } from '../scratch.ts';
import { serverCpu } from '../server-cpu.ts';
import { loaderCpu } from './measure-loader.ts';
import { measureCitus } from './measure-citus.ts';
import type { Rates, RowBytes } from './rates.ts';

/** Start of the week, a Sunday long ago: it is closed, and due for consolidation. */
const WEEK = '2024-01-07 00:00:00+00';
const SHAPE = { accounts: 600, assets: 20, hours: 168 };
const KEYS = SHAPE.accounts * SHAPE.assets;
const ROWS = KEYS * SHAPE.hours;
const MILLION = 1e6;

/** What a step took of the server: processor seconds and WAL bytes. */
interface Cost {
  readonly cpu_s: number;
  readonly wal: number;
}

/** Measures everything; `citusUrl` names a coordinator on this machine, or null. */
export const measureRates = async (citusUrl: string | null, say: (text: string) => void): Promise<Rates> => {
  let rates: Rates | undefined;
  await withScratchServer(
    async (url) => {
      await migrate({ connectionString: url });
      const pool = createPool(url, { synchronousCommit: 'off' });
      rates = await withClient(pool, (client) => measureOn(client, pool, url, citusUrl, say));
      await pool.end();
      // Images of whole pages are switched here, which a server that does not wait for the disk would not let us.
    },
    { fsync: true },
  );
  return rates!;
};

const measureOn = async (
  client: Client,
  pool: Pool,
  url: string,
  citusUrl: string | null,
  say: (text: string) => void,
): Promise<Rates> => {
  const cost = await costOf(client);
  await client.query('alter system set full_page_writes = off');
  await client.query('select pg_reload_conf()');
  say(`making ${ROWS.toLocaleString('en')} changes`);
  await makeFeed(client);
  const live = await loadLive(client, cost, say);
  const bytes = {
    changes: await bytesOf(client, 'balance_changes'),
    balances: await bytesOf(client, 'account_balances'),
  };
  const state = await bytesOf(client, 'account_balances_current', KEYS);
  const locks = await locksPerLeaf(client);
  say('folding in bulk, loading in bulk');
  const bulk = await bulkCosts(client, pool, cost);
  say('freezing, consolidating');
  const freeze = await cost(() => client.query('vacuum (freeze, analyze) strata.balance_changes'));
  const consolidated = { changes: 0, balances: 0 };
  const consolidate = await cost(() => consolidateAll(pool, 'balance_changes'));
  await consolidateAll(pool, 'account_balances');
  consolidated.changes = await totalBytes(client, 'balance_changes');
  consolidated.balances = await totalBytes(client, 'account_balances');
  const citus = citusUrl === null ? null : await measureCitus(client, citusUrl, say);
  say('loading over Flight');
  const loader = await loaderCpu(url);
  const { rows } = await client.query<{ version: string }>(
    `select current_setting('server_version') as version`,
  );
  const perMillion = (one: Cost, rows = ROWS): number => round((one.cpu_s / rows) * MILLION);
  const row = (set: { heap: number; key: number }, packed: number, columnar: number | null): RowBytes => ({
    ...set,
    consolidated: round(packed / ROWS),
    columnar,
  });
  return {
    measured_on: `${cpus()[0]?.model.trim() ?? 'unknown'}, ${cpus().length} shared cores`,
    postgres: rows[0]!.version,
    citus: citus?.version ?? null,
    bytes: {
      changes: row(bytes.changes, consolidated.changes, citus?.changes_bytes ?? null),
      balances: row(bytes.balances, consolidated.balances, citus?.balances_bytes ?? null),
      state: { ...state, consolidated: round(state.heap + state.key), columnar: null },
    },
    cpu_s_per_million: {
      loader,
      copy: perMillion(live.copy),
      copy_bulk: perMillion(bulk.copy),
      fold: perMillion(live.fold),
      fold_bulk: perMillion(bulk.fold),
      freeze: perMillion(freeze),
      consolidate: perMillion(consolidate),
      coordinator: citus?.coordinator ?? null,
      columnar: citus?.columnar ?? null,
    },
    wal_bytes: {
      copy: round(live.copy.wal / ROWS),
      fold: round(live.fold.wal / ROWS),
      freeze: round(freeze.wal / ROWS),
      consolidate: round(consolidate.wal / ROWS),
      images_per_change: round(live.images.count / KEYS),
      image: round(live.images.bytes / live.images.count),
    },
    locks_per_leaf: locks,
  };
};

const round = (value: number): number => Number(value.toPrecision(3));

/** Measures what `work` takes of the whole server. */
const costOf = async (client: Client): Promise<(work: () => Promise<unknown>) => Promise<Cost>> => {
  const cpu = await serverCpu(client);
  const wal = async (): Promise<number> => {
    const { rows } = await client.query<{ bytes: string }>(
      `select pg_current_wal_insert_lsn() - '0/0' as bytes`,
    );
    return Number(rows[0]!.bytes);
  };
  return async (work) => {
    const [cpuBefore, walBefore] = [cpu(), await wal()];
    await work();
    return { cpu_s: cpu() - cpuBefore, wal: (await wal()) - walBefore };
  };
};

/** The changes, hashed as the warehouse hashes them, so that batches can be read out in the loader's order. */
const makeFeed = async (client: Client): Promise<void> => {
  await client.query(`insert into strata.assets (asset_id, network, standard, asset_key, zero_sum)
    select n, 'sizing', 'activity', n::text, false from generate_series(0, ${SHAPE.assets - 1}) n`);
  for (const set of ['balance_changes', 'account_balances'])
    await client.query(`select strata.ensure_weeks($1, $2, $2)`, [set, WEEK]);
  await client.query(
    'create table public.feed (like strata.balance_changes) partition by hash (account_address)',
  );
  for (let leaf = 0; leaf < 4; leaf++)
    await client.query(
      `create unlogged table public.feed_${leaf} partition of public.feed for values with (modulus 4, remainder ${leaf}) with (autovacuum_enabled = off)`,
    );
  await client.query(`insert into public.feed
    select decode(md5(a::text) || '00000000', 'hex'), k, timestamptz '${WEEK}' + interval '1 hour' * h + interval '1 second' * (a % 3600), h * 300 + a % 300, a, 1,
           ((random() - 0.5) * 1e18)::numeric(40, 0)
      from generate_series(0, ${SHAPE.hours - 1}) h, generate_series(1, ${SHAPE.accounts}) a, generate_series(0, ${SHAPE.assets - 1}) k`);
  await client.query('create index on public.feed (block_time)');
  await client.query('analyze public.feed');
};

const readOut = async (client: Client, query: string): Promise<Buffer> => {
  const chunks: Buffer[] = [];
  for await (const chunk of client.query(
    copyTo(`copy (${query}) to stdout (format binary)`),
  ) as AsyncIterable<Buffer>)
    chunks.push(chunk);
  return Buffer.concat(chunks);
};

const copy = (client: Client, target: string, bytes: Buffer): Promise<void> =>
  pipeline(Readable.from([bytes]), client.query(copyFrom(`copy ${target} from stdin (format binary)`)));

interface Live {
  readonly copy: Cost;
  readonly fold: Cost;
  readonly images: { readonly count: number; readonly bytes: number };
}

/** Every hour a batch, as `ingest` commits it; the last one behind a checkpoint, with images of whole pages. */
const loadLive = async (
  client: Client,
  cost: Awaited<ReturnType<typeof costOf>>,
  say: (text: string) => void,
): Promise<Live> => {
  const sums = { copy: { cpu_s: 0, wal: 0 }, fold: { cpu_s: 0, wal: 0 } };
  let images = { count: 0, bytes: 0 };
  for (let hour = 0; hour < SHAPE.hours; hour++) {
    const span = `from public.feed where block_time >= timestamptz '${WEEK}' + interval '${hour} hours' and block_time < timestamptz '${WEEK}' + interval '${hour + 1} hours'`;
    const changes = await readOut(client, `select * ${span} order by tableoid, account_address, asset_id`);
    const deltas = await readOut(
      client,
      `select account_address, asset_id, date_trunc('hour', block_time, 'UTC'), sum(delta), count(*)::int ${span} group by tableoid, 1, 2, 3 order by tableoid, 1, 2`,
    );
    const last = hour === SHAPE.hours - 1;
    const since = last ? await withImages(client) : '';
    await client.query('begin');
    await client.query('select strata.open_deltas()');
    const copied = await cost(() => copy(client, 'strata.balance_changes', changes));
    const folded = await cost(async () => {
      await copy(client, `pg_temp.balance_deltas (${DELTA_COLUMNS.join(', ')})`, deltas);
      await client.query('select strata.fold_deltas()');
    });
    await client.query('commit');
    if (last) images = await readImages(client, since);
    else {
      add(sums.copy, copied);
      add(sums.fold, folded);
    }
    if (hour % 42 === 41) say(`loaded ${hour + 1} of ${SHAPE.hours} hours`);
  }
  return { ...sums, images };
};

const add = (sum: { cpu_s: number; wal: number }, one: Cost): void => {
  sum.cpu_s += one.cpu_s;
  sum.wal += one.wal;
};

/** From here on the first touch of each page writes it whole; returns the place in the WAL. */
const withImages = async (client: Client): Promise<string> => {
  await client.query('create extension if not exists pg_walinspect');
  await client.query('alter system set full_page_writes = on');
  await client.query('alter system set wal_compression = pglz');
  await client.query(`alter system set wal_keep_size = '4GB'`);
  await client.query('select pg_reload_conf()');
  await client.query('checkpoint');
  const { rows } = await client.query<{ lsn: string }>('select pg_current_wal_lsn()::text as lsn');
  return rows[0]!.lsn;
};

/** Images of whole pages that were written since that place in the WAL, and their bytes. */
const readImages = async (client: Client, since: string): Promise<{ count: number; bytes: number }> => {
  // What is read must have been flushed: by a commit that waits for it. A checkpoint would remove it.
  await client.query('set synchronous_commit = on');
  await client.query('select pg_current_xact_id()');
  await client.query('set synchronous_commit = off');
  const { rows } = await client.query<{ count: number; bytes: number }>(
    'select count(*)::float8 as count, coalesce(sum(block_fpi_length), 0)::float8 as bytes from pg_get_wal_block_info($1, pg_current_wal_lsn()) where block_fpi_length > 0',
    [since],
  );
  await client.query('alter system reset wal_compression');
  await client.query('alter system set full_page_writes = off');
  await client.query('select pg_reload_conf()');
  return rows[0]!;
};

const totalBytes = async (client: Client, set: string): Promise<number> => {
  const { rows } = await client.query<{ bytes: number }>(
    `select sum(pg_total_relation_size(relid))::float8 as bytes from pg_partition_tree($1::regclass) where isleaf`,
    [`strata.${set}`],
  );
  return rows[0]!.bytes;
};

const bytesOf = async (client: Client, set: string, rows = ROWS): Promise<{ heap: number; key: number }> => {
  const { rows: sizes } = await client.query<{ heap: number; key: number }>(
    `select sum(pg_table_size(relid))::float8 as heap, sum(pg_indexes_size(relid))::float8 as key from pg_partition_tree($1::regclass) where isleaf`,
    [`strata.${set}`],
  );
  return { heap: round(sizes[0]!.heap / rows), key: round(sizes[0]!.key / rows) };
};

const locksPerLeaf = async (client: Client): Promise<number> => {
  await client.query('begin');
  await client.query('select count(*) from strata.balance_changes');
  const { rows } = await client.query<{ locks: number; leaves: number }>(
    `select count(*)::float8 as locks, (select count(*) from pg_partition_tree('strata.balance_changes') where isleaf)::float8 as leaves
       from pg_locks where pid = pg_backend_pid() and locktype = 'relation' and relation in (select oid from pg_class where relname like 'balance_changes%hash%')`,
  );
  await client.query('commit');
  return rows[0]!.locks / rows[0]!.leaves;
};

const consolidateAll = async (pool: Pool, set: string): Promise<void> => {
  const results = await createPartitionManager(pool, { set }).consolidateOldPartitions(3, false);
  if (results.length !== 1) throw new Error(`consolidated ${JSON.stringify(results)}`);
};

const bulkCosts = async (
  client: Client,
  pool: Pool,
  cost: Awaited<ReturnType<typeof costOf>>,
): Promise<{ fold: Cost; copy: Cost }> => {
  await client.query('truncate strata.account_balances, strata.account_balances_current');
  await client.query('update strata.balance_status set stale = false');
  const fold = await cost(() => foldWeek(pool, { week: new Date(WEEK), workers: 2 }));
  const bytes = await readOut(client, 'select * from public.feed order by block_time');
  await client.query('create table public.bulk (like strata.balance_changes)');
  const copied = await cost(async () => {
    await copy(client, 'public.bulk', bytes);
    await client.query(
      'alter table public.bulk add primary key (account_address, asset_id, block_time, block_num, ordinal, source_id)',
    );
  });
  return { fold, copy: copied };
};
