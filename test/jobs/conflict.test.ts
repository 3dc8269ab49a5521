/** Several loaders at once: on one stream only one may commit, on different streams all of them; and lost connections. */
import { afterEach, describe, expect, test } from 'vitest';
import { createChain } from '../../src/devnet/chain.ts';
import type { SimulatedChain } from '../../src/devnet/chain.ts';
import { startDevnet } from '../../src/devnet/server.ts';
import type { Devnet } from '../../src/devnet/server.ts';
import { createPool } from '../../src/db/pool.ts';
import { useDatabase } from '../database.ts';
import { until } from '../db/until.ts';
import { failureOf } from '../flight/collect.ts';
import { follow, load, LOGS, TRANSFERS } from './loading.ts';
import { logsOf, storedLogs } from './log-rows.ts';
import { expectChain, expectSame, ledgerOf, openTransactions, unbalancedAssets } from './oracle.ts';

const database = useDatabase();

const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
  expect(await openTransactions(database.pool)).toEqual([]);
});

const serve = async (seed = 1): Promise<Devnet<SimulatedChain>> => {
  const chain = createChain({
    seed,
    accounts: 20,
    tokens: 3,
    transfersPerBlock: 5,
    logsPerBlock: 4,
    blocks: 40,
    blockSeconds: 10_000,
  });
  const devnet = await startDevnet({ chain, microbatchBlocks: 3 });
  cleanups.push(devnet.stop);
  return devnet;
};

describe('on one stream', () => {
  test('the second loader is refused, and may load when the first is done', async () => {
    const { url, chain } = await serve();
    const request = { pool: database.pool, url, stream: 'contested', settings: TRANSFERS };
    const first = follow(request);
    await until('the first blocks', () => first.committed() === 39);
    const other = createPool(database.url);
    cleanups.push(() => other.end());
    const error = await failureOf(load({ ...request, pool: other }));
    expect(error).toMatchObject({
      kind: 'conflict',
      detail: { stream: 'contested', remedy: expect.any(String) as string },
    });
    chain.advance(3);
    await until('the first loader to go on', () => first.committed() === 42);
    await first.stop();
    chain.advance(3);
    expect(await load({ ...request, pool: other })).toMatchObject({ end: 'complete', blocks: 3 });
    await expectChain(database.pool, 'contested', chain);
  });

  test('a loader whose claim was taken over commits nothing more', async () => {
    const { url, chain } = await serve();
    const request = { pool: database.pool, url, stream: 'stolen', settings: TRANSFERS };
    const loser = follow(request);
    await until('the first blocks', () => loser.committed() === 39);
    await database.pool.query(`update strata.streams set epoch = epoch + 1 where stream = 'stolen'`);
    const before = await ledgerOf(database.pool, 'stolen');
    chain.advance(5);
    const error = await failureOf(loser.result);
    expect(error).toMatchObject({
      kind: 'conflict',
      detail: { stream: 'stolen' },
      message: expect.stringMatching(/taken over/) as string,
    });
    expect(await ledgerOf(database.pool, 'stolen')).toEqual(before);
    await load(request);
    await expectChain(database.pool, 'stolen', chain);
  });

  test('a name that stands for another load or table is refused', async () => {
    const { url } = await serve();
    await load({ pool: database.pool, url, stream: 'named', settings: { ...LOGS, table: 'named' } });
    for (const settings of [TRANSFERS, { ...LOGS, table: 'otherwise' }]) {
      const error = await failureOf(load({ pool: database.pool, url, stream: 'named', settings }));
      expect(error).toMatchObject({
        kind: 'config',
        detail: { stream: 'named', remedy: expect.any(String) as string },
      });
    }
  });
});

describe('on several streams', () => {
  test('loaders in one database do not disturb each other: weeks, assets and accounts are shared', async () => {
    const servers = await Promise.all([1, 2, 2, 3].map((seed) => serve(seed)));
    const runs = servers.map(({ url }, index) =>
      load({
        pool: database.pool,
        url,
        stream: `beside_${index}`,
        settings: { ...TRANSFERS, commit_rows: 20 },
      }),
    );
    const rows = load({
      pool: database.pool,
      url: servers[0]!.url,
      stream: 'beside_rows',
      settings: { ...LOGS, table: 'beside', partition: { time: 'timestamp', hash: 'address' } },
    });
    await Promise.all([...runs, rows]);
    for (const [index, { chain }] of servers.entries())
      await expectChain(database.pool, `beside_${index}`, chain);
    expectSame(await storedLogs(database.pool, 'beside'), logsOf(servers[0]!.chain));
    expect(await unbalancedAssets(database.pool)).toBe(0);
  });
});

describe('when PostgreSQL', () => {
  const terminate = (application: string, state: string) =>
    database.pool.query(
      `select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and application_name = $1 and ${state}`,
      [application],
    );

  test('hangs up in the middle the run fails, and the next one goes on', async () => {
    const { url, chain } = await serve();
    const pool = createPool(database.url, { applicationName: 'the one to lose' });
    cleanups.push(() => pool.end());
    const request = { pool, url, stream: 'hung_up', settings: TRANSFERS };
    const live = follow(request);
    await until('the first blocks', () => live.committed() === 39);
    // A lock on the ledger holds the next commit; its session is then ended in the middle of it.
    const blocker = await database.pool.connect();
    await blocker.query('begin; lock table strata.stream_batches in access exclusive mode');
    chain.advance(1);
    await until('the commit to wait', async () => {
      const { rowCount } = await database.pool.query(
        `select from pg_stat_activity where datname = current_database() and application_name = 'the one to lose' and wait_event_type = 'Lock'`,
      );
      return rowCount === 1;
    });
    await terminate('the one to lose', `wait_event_type = 'Lock'`);
    const error = await failureOf(live.result);
    await blocker.query('rollback');
    blocker.release();
    expect(error).toMatchObject({ kind: 'connection', detail: { stream: 'hung_up' } });
    await load({ ...request, pool: database.pool });
    await expectChain(database.pool, 'hung_up', chain);
  });

  test('has no room left, the error says so and nothing of the batch is stored', async () => {
    const { url, chain } = await serve();
    const request = { pool: database.pool, url, stream: 'full', settings: { ...LOGS, table: 'full_up' } };
    await database.pool
      .query(`create table public.full_up (timestamp timestamptz, log_index bigint, address bytea, topics jsonb, data bytea,
      removed boolean, gas_price float8, fee numeric, note text, _block_num bigint, _batch_id bigint)`);
    await database.pool.query(`create function public.no_space() returns trigger language plpgsql as $$ begin
      if new._block_num = 20 then raise exception 'could not extend file "base/1/2": No space left on device' using errcode = 'disk_full'; end if;
      return new; end $$; create trigger no_space before insert on public.full_up for each row execute function public.no_space()`);
    const error = await failureOf(load({ ...request, settings: { ...request.settings, commit_rows: 1 } }));
    expect(error).toMatchObject({
      kind: 'database',
      detail: { stream: 'full', sqlstate: '53100', remedy: expect.stringMatching(/Free space/) as string },
    });
    const { rows } = await database.pool.query<{ last: number | null }>(
      `select max(_block_num) as last from public.full_up`,
    );
    const [committed] = (await ledgerOf(database.pool, 'full')).slice(-1);
    expect(rows[0]?.last ?? -1).toBe(committed?.end ?? -1);
    await database.pool.query('drop trigger no_space on public.full_up');
    await load(request);
    expectSame(await storedLogs(database.pool, 'public.full_up'), logsOf(chain));
  });
});
