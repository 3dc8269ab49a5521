/** The `rows` load from end to end: made tables, partition sets, tables that were there, reorgs; every cell compared. */
import { afterEach, describe, expect, test } from 'vitest';
import { createChain } from '../../src/devnet/chain.ts';
import type { ChainOptions, SimulatedChain } from '../../src/devnet/chain.ts';
import { startDevnet } from '../../src/devnet/server.ts';
import type { Devnet, DevnetOptions } from '../../src/devnet/server.ts';
import { useDatabase } from '../database.ts';
import { until } from '../db/until.ts';
import { failureOf } from '../flight/collect.ts';
import { follow, load, LOGS } from './loading.ts';
import { logsOf, storedLogs } from './log-rows.ts';
import { expectLedger, expectSame, openTransactions } from './oracle.ts';

const database = useDatabase();

const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup();
  expect(await openTransactions(database.pool)).toEqual([]);
});

const serve = async (
  chainOptions: ChainOptions = {},
  options: Omit<DevnetOptions, 'chain'> = {},
): Promise<Devnet<SimulatedChain>> => {
  const chain = createChain({
    seed: 3,
    accounts: 10,
    tokens: 2,
    transfersPerBlock: 1,
    logsPerBlock: 9,
    blocks: 50,
    blockSeconds: 20_000,
    ...chainOptions,
  });
  const devnet = await startDevnet({ chain, microbatchBlocks: 8, ...options });
  cleanups.push(devnet.stop);
  return devnet;
};

const columnsOf = async (table: string): Promise<Record<string, string>> => {
  const { rows } = await database.pool.query<{ name: string; type: string }>(
    `select attname as name, format_type(atttypid, atttypmod) || case when attnotnull then ' not null' else '' end as type
       from pg_attribute where attrelid = $1::regclass and attnum > 0 and not attisdropped order by attnum`,
    [table],
  );
  return Object.fromEntries(rows.map(({ name, type }) => [name, type]));
};

const leavesOf = async (table: string): Promise<number> => {
  const { rows } = await database.pool.query<{ leaves: number }>(
    `select count(*)::int as leaves from pg_partition_tree($1::regclass) where isleaf`,
    [table],
  );
  return rows[0]!.leaves;
};

describe('a table that is not there', () => {
  test('is made from the schema, and holds every cell', async () => {
    const { url, chain } = await serve({}, { rowsPerMessage: 20, keepAliveRate: 0.2 });
    const request = {
      pool: database.pool,
      url,
      stream: 'made',
      settings: { ...LOGS, table: 'made', commit_rows: 50 },
    };
    const rows = logsOf(chain).length;
    expect(await load(request)).toMatchObject({ end: 'complete', rows, blocks: 50 });
    expectSame(await storedLogs(database.pool, 'made'), logsOf(chain));
    await expectLedger(database.pool, 'made', chain, { rows });
    expect(await columnsOf('made')).toMatchObject({
      address: 'bytea',
      topics: 'jsonb',
      fee: 'numeric',
      gas_price: 'double precision',
      timestamp: 'timestamp with time zone',
      _block_num: 'bigint not null',
      _batch_id: 'bigint not null',
    });
    expect((await load(request)).end).toBe('nothing new');
    chain.advance(4);
    await load(request);
    expectSame(await storedLogs(database.pool, 'made'), logsOf(chain));
  });

  test('says with every row which batch it came with', async () => {
    const { url } = await serve();
    await load({ pool: database.pool, url, stream: 'batched', settings: { ...LOGS, table: 'batched' } });
    const { rows } = await database.pool.query(
      `select count(*)::int as strays from batched l
        where not exists (select from strata.stream_batches b where b.batch_id = l._batch_id and l._block_num between b.start_block and b.end_block)`,
    );
    expect(rows).toEqual([{ strays: 0 }]);
  });

  test('becomes a set of weeks and hash partitions where the stream asks for one', async () => {
    const { url, chain } = await serve();
    const settings = {
      ...LOGS,
      table: 'parted',
      partition: { time: 'timestamp', hash: 'address', modulus: 3 },
    };
    const request = { pool: database.pool, url, stream: 'parted', settings };
    await load(request);
    expectSame(await storedLogs(database.pool, 'parted'), logsOf(chain));
    // 50 blocks of 20,000 seconds from a Sunday on are two weeks.
    expect(await leavesOf('parted')).toBe(2 * 3);
    chain.advance(40);
    await load(request);
    expectSame(await storedLogs(database.pool, 'parted'), logsOf(chain));
    expect(await leavesOf('parted')).toBe(3 * 3);
    const { rows } = await database.pool.query(
      `select hash_column, modulus from strata.partition_sets where set_name = 'parted'`,
    );
    expect(rows).toEqual([{ hash_column: 'address', modulus: 3 }]);
  });

  test('keeps the case of its name', async () => {
    const { url, chain } = await serve({ blocks: 4 });
    const settings = { ...LOGS, table: 'MixedCase', partition: { time: 'timestamp', hash: 'address' } };
    await load({ pool: database.pool, url, stream: 'mixed', settings });
    expectSame(await storedLogs(database.pool, 'public."MixedCase"'), logsOf(chain));
  });
});

describe('a table that is there', () => {
  test('is filled under its own names and types', async () => {
    await database.pool
      .query(`create table public.theirs (id bigint generated always as identity primary key, logged_at timestamptz not null, contract bytea, idx numeric,
      topics jsonb, data bytea, removed boolean, gas_price double precision, fee numeric(40), remark varchar, loaded timestamptz default now(), _block_num bigint, _batch_id bigint)`);
    const { url, chain } = await serve();
    const columns = {
      logged_at: 'timestamp',
      contract: 'address',
      idx: 'log_index',
      topics: 'topics',
      data: 'data',
      removed: 'removed',
      gas_price: 'gas_price',
      fee: 'fee',
      remark: 'note',
    };
    await load({
      pool: database.pool,
      url,
      stream: 'theirs',
      settings: { ...LOGS, table: 'public.theirs', columns },
    });
    expectSame(
      await storedLogs(database.pool, 'public.theirs', {
        timestamp: 'logged_at',
        address: 'contract',
        log_index: 'idx',
        note: 'remark',
      }),
      logsOf(chain),
    );
  });

  test.each([
    [
      'without a column of the query',
      'a int, _block_num bigint, _batch_id bigint',
      {},
      /has no column timestamp/,
    ],
    [
      'of a type that does not fit',
      'log_index uuid, _block_num bigint, _batch_id bigint',
      { log_index: 'log_index' },
      /log_index.*uuid|uuid.*log_index|Uint32/,
    ],
    [
      'without the columns that a reorg needs',
      'log_index bigint',
      { log_index: 'log_index' },
      /has no column _block_num bigint/,
    ],
    [
      'that requires what the query does not give',
      'log_index bigint, owner text not null, _block_num bigint, _batch_id bigint',
      { log_index: 'log_index' },
      /requires owner/,
    ],
    [
      'and a mapping to a column the query lacks',
      'log_index bigint, _block_num bigint, _batch_id bigint',
      { log_index: 'index' },
      /the query has no column index/,
    ],
    [
      'and a mapping in a ring',
      'log_index bigint, note text, _block_num bigint, _batch_id bigint',
      { log_index: 'position', position: 'log_index' },
      /no column position/,
    ],
  ])('is refused %s', async (name, definition, columns, says) => {
    const table = `misfit_${name.length}`;
    await database.pool.query(`create table public.${table} (${definition})`);
    const { url } = await serve({ blocks: 3 });
    const settings = { ...LOGS, table, ...(Object.keys(columns).length > 0 && { columns }) };
    const error = await failureOf(load({ pool: database.pool, url, stream: table, settings }));
    expect(error.message).toMatch(says);
    expect(error.detail).toMatchObject({ stream: table, remedy: expect.any(String) as string });
    expect((await database.pool.query(`select from public.${table}`)).rowCount).toBe(0);
  });

  test.each([
    ['time', { time: 'moment', hash: 'address' }],
    ['hash', { time: 'timestamp', hash: 'contract' }],
  ])('and a set by a column that is not there is refused: %s', async (key, partition) => {
    const { url } = await serve({ blocks: 3 });
    const error = await failureOf(
      load({
        pool: database.pool,
        url,
        stream: `keyless_${key}`,
        settings: { ...LOGS, table: `keyless_${key}`, partition },
      }),
    );
    expect(error).toMatchObject({
      kind: 'config',
      message: expect.stringMatching(/no column (moment|contract)/) as string,
    });
  });

  test('in a schema that is not there is refused with a remedy', async () => {
    const { url } = await serve({ blocks: 3 });
    const error = await failureOf(
      load({ pool: database.pool, url, stream: 'nowhere', settings: { ...LOGS, table: 'nowhere.logs' } }),
    );
    expect(error.message).toMatch(/schema "nowhere" does not exist/);
    expect(error.detail.remedy).toMatch(/create schema nowhere/i);
  });

  test('with a null for a column that takes none: the error names block and column, nothing stays', async () => {
    await database.pool.query(
      `create table public.strict (note text not null, _block_num bigint, _batch_id bigint)`,
    );
    const { url } = await serve();
    const settings = { ...LOGS, table: 'strict', columns: { note: 'note' } };
    const error = await failureOf(load({ pool: database.pool, url, stream: 'strict', settings }));
    expect(error).toMatchObject({
      kind: 'data',
      detail: { stream: 'strict', column: 'note', network: 'devnet' },
    });
    expect(error.detail.block).toBeTypeOf('number');
    expect(error.detail.remedy).toBeTypeOf('string');
    expect((await database.pool.query('select from public.strict')).rowCount).toBe(0);
  });
});

describe('a followed stream of rows', () => {
  test.each([
    ['into a table', {}],
    ['into a partition set', { partition: { time: 'timestamp', hash: 'address', modulus: 2 } }],
  ])('takes back what a reorg drops: %s', async (name, extra) => {
    const stream = `live_${name.length}`;
    const { url, chain } = await serve();
    const live = follow({ pool: database.pool, url, stream, settings: { ...LOGS, ...extra, table: stream } });
    await until('the first blocks', () => live.committed() === 49);
    chain.reorg(5, 6); // starts inside a batch of eight blocks
    await until('the new branch', () => live.committed() === 50);
    chain.reorg(30, 31);
    await until('a deep one', () => live.committed() === 51);
    expect(await live.stop()).toMatchObject({ end: 'stopped', reorgs: 2 });
    expectSame(await storedLogs(database.pool, stream), logsOf(chain));
    await expectLedger(database.pool, stream, chain, { rows: logsOf(chain).length });
  });
});
