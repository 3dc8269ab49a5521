/** Two connections fold one week: what one makes is taken by the transaction it was made for, and by no other. */
import { afterAll, beforeEach, expect, test } from 'vitest';
import { createPool, withTransaction } from '../../src/db/pool.ts';
import type { Client, Pool } from '../../src/db/query.ts';
import { createChain } from '../../src/devnet/chain.ts';
import { startDevnet } from '../../src/devnet/server.ts';
import { attachWeek, keyWeek, readWeeksApart } from '../../src/warehouse/backfill/weeks.ts';
import { expectExact } from '../balances/tables.ts';
import { valueOf } from '../balances/harness.ts';
import { WarehouseError } from '../../src/runtime/errors.ts';
import { useDatabase } from '../database.ts';
import { failureOf } from '../flight/collect.ts';
import { load, TRANSFERS } from '../jobs/loading.ts';
import { shapeOf } from './tables.ts';

const database = useDatabase();

const CHAIN = { seed: 9, accounts: 20, tokens: 2, transfersPerBlock: 4, blocks: 170, blockSeconds: 7_200 };

const pools: Pool[] = [];
afterAll(() => Promise.all(pools.map((pool) => pool.end())));

const openPool = (url: string): Pool => {
  const pool = createPool(url);
  pools.push(pool);
  return pool;
};

let url: string;
let pool: Pool;
let weeks: readonly Date[];

/** Two weeks that have their keys, and are not attached: the load is stopped behind the first of its partitions. */
beforeEach(async () => {
  const devnet = await startDevnet({ chain: createChain(CHAIN) });
  ({ url } = await database.createDatabase());
  pool = openPool(url);
  const stopping = new AbortController();
  let partitions = 0;
  await load({
    pool,
    url: devnet.url,
    stream: 'history',
    settings: { ...TRANSFERS, parallel: { workers: 1, partition_blocks: 150, reorg_buffer: 5 } },
    now: new Date('2027-01-01T00:00:00Z'),
    signal: stopping.signal,
    onEvent: ({ kind }) => {
      if (kind === 'committed' && ++partitions === 2) stopping.abort(new Error('enough'));
    },
  });
  await devnet.stop();
  const apart = await readWeeksApart(pool, 'history');
  for (const week of apart) if (week.state === 'building') await keyWeek(pool, week, 1);
  weeks = apart.map(({ week }) => week);
  expect(weeks).toHaveLength(2);
});

/** Begins the fold of a week; all of its partitions may be shared. */
const begin = async (client: Client, week: Date): Promise<string> => {
  const { rows } = await client.query<{ folding: string; parts: number[] }>(
    'select folding::text, parts from strata.begin_backfill_fold($1)',
    [week],
  );
  expect(rows[0]!.parts).toEqual([0, 1, 2, 3]);
  return rows[0]!.folding;
};

/** Balance rows of each partition, made for the transaction `folding`. */
const prefill = async (week: Date, folding: string): Promise<readonly (number | null)[]> => {
  const { rows } = await pool.query<{ rows: number | null }>(
    'select strata.prefill_week_partition($1, part, $2::text::xid8) as rows from generate_series(0, 3) part',
    [week, folding],
  );
  return rows.map((row) => row.rows);
};

const freshTables = async (): Promise<readonly string[]> =>
  (await shapeOf(pool)).filter((line) => line.includes('fresh'));

const filesOf = (tables: string): Promise<readonly string[]> =>
  valueOf(pool, `select array_agg(pg_relation_filenode(t)::text order by 1) from ${tables} f (t)`);

test('the transaction takes what was made for it, to the file', async () => {
  const [week] = weeks;
  const made = await withTransaction(pool, async (client) => {
    const folding = await begin(client, week!);
    const rows = await prefill(week!, folding);
    const files = await filesOf(`(select oid from pg_class where relkind = 'r' and relname ~ '^fresh_')`);
    expect(files).toHaveLength(4);
    const { rows: attached } = await client.query<{ folded: string; balance_rows: number }>(
      'select folded, balance_rows from strata.attach_backfill_week($1, true)',
      [week],
    );
    expect(attached).toEqual([
      { folded: 'whole', balance_rows: rows.reduce<number>((sum, n) => sum + n!, 0) },
    ]);
    return files;
  });
  expect(
    await filesOf(`(select leaf from strata.week_leaves('account_balances', '${week!.toISOString()}'))`),
  ).toEqual(made);
  expect(await freshTables()).toEqual([]);
  // And by both at once.
  expect(await attachWeek(pool, openPool(url), weeks[1]!, true)).toMatchObject({ folded: 'whole' });
  expect(await freshTables()).toEqual([]);
  await expectExact(pool);
});

test('what was made for a transaction that is gone is dropped, and nothing is made for it any more', async () => {
  const [week] = weeks;
  let gone = '';
  const failure = await failureOf(
    withTransaction(pool, async (client) => {
      gone = await begin(client, week!);
      await prefill(week!, gone);
      throw new WarehouseError('cancelled', 'enough');
    }),
  );
  expect(failure).toMatchObject({ message: 'enough' });
  expect(await freshTables()).toHaveLength(4);
  await pool.query(
    `do $$ declare t text; begin for t in select oid::regclass from pg_class where relkind = 'r' and relname ~ '^fresh_' loop execute format('update %s set balance = balance + 1', t); end loop; end $$`,
  );
  expect(await prefill(week!, gone)).toEqual([null, null, null, null]);
  for (const each of weeks)
    expect(await attachWeek(pool, null, each, true)).toMatchObject({ folded: 'whole' });
  expect(await freshTables()).toEqual([]);
  await expectExact(pool);
});

test('a helper that fails is not missed', async () => {
  const broken = createPool(url);
  await broken.end();
  for (const week of weeks)
    expect(await attachWeek(pool, broken, week, true)).toMatchObject({ folded: 'whole' });
  await expectExact(pool);
});
