/** What PostgreSQL does to a stream: refusals that pass, sessions ended in the middle of a COPY, a server that is down for minutes. */
import { rm } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, afterEach, describe, expect, test } from 'vitest';
import { startEmbedded } from '../../src/db/embedded.ts';
import { migrate } from '../../src/db/migrate.ts';
import { createPool } from '../../src/db/pool.ts';
import { isAlive, readPostmaster } from '../../src/db/server-process.ts';
import { startDevnet } from '../../src/devnet/server.ts';
import type { Devnet } from '../../src/devnet/server.ts';
import type { SimulatedChain } from '../../src/devnet/chain.ts';
import { verifyBalances } from '../../src/warehouse/verify.ts';
import { useDatabase } from '../database.ts';
import { openDataFolder } from '../postgres.ts';
import { until } from '../db/until.ts';
import { failureOf } from '../flight/collect.ts';
import { startProxy, through } from '../proxy.ts';
import { limitFor, randomRuns, seed } from '../seed.ts';
import { TRANSFERS } from './loading.ts';
import { expectChain, ledgerOf, openTransactions } from './oracle.ts';
import { fastClock, supervise } from './supervised.ts';
import { chainOf, IMPATIENT, play, randomFrom } from './wire-faults.ts';

const database = useDatabase();
const RUNS = randomRuns(10);
const LIMIT_MS = limitFor(RUNS, 6_000);

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
  expect(await openTransactions(database.pool)).toEqual([]);
});
afterAll(async () => {
  expect(await verifyBalances(database.pool, { oneIn: 1 })).toMatchObject({ differences: 0 });
});

const serve = async (chain: SimulatedChain, port = 0): Promise<Devnet<SimulatedChain>> => {
  const devnet = await startDevnet({ chain, microbatchBlocks: 4, rowsPerMessage: 20, port });
  cleanups.push(devnet.stop);
  return devnet;
};

/** The Flight server is not what is tried here: one that a busy machine holds up is no failure. */
const PATIENT = { connectTimeout_ms: 20_000, infoTimeout_ms: 20_000, pingTimeout_ms: 20_000 };

describe('a refusal', () => {
  /** Makes the ledger refuse a stream's next rows so many times; a sequence counts, which no rollback takes back. */
  const refuse = async (stream: string, sqlstate: string, times: number): Promise<void> => {
    const name = `refusing_${stream}`;
    await database.pool.query(`
      create sequence public.${name};
      create function public.${name}() returns trigger language plpgsql as $$ begin
        if new.source_id in (select source_id from strata.sources where stream = '${stream}') and nextval('public.${name}') <= ${times} then
          raise exception 'refused for a test' using errcode = '${sqlstate}';
        end if;
        return new; end $$;
      create trigger ${name} before insert on strata.stream_batches for each row execute function public.${name}()`);
    cleanups.push(() =>
      database.pool.query(`drop function public.${name}() cascade; drop sequence public.${name}`),
    );
  };

  test.each(['40001', '40P01', '55P03', '53300', '57P01', '57P03', '08006'])(
    '%s is tried again within bounds',
    async (sqlstate) => {
      const chain = chainOf(seed());
      const devnet = await serve(chain);
      const stream = `passes_${sqlstate.toLowerCase()}`;
      await refuse(stream, sqlstate, 3);
      const settings = { ...TRANSFERS, ...IMPATIENT };
      const run = supervise({
        url: database.url,
        server: devnet.url,
        stream,
        settings,
        follow: false,
        flight: PATIENT,
      });
      // A load that was overtaken by retention starts over by itself, once, before it counts as a failure.
      const retries = sqlstate === '40001' ? 1 : 3;
      expect(await run.result).toMatchObject({ end: 'complete', blocks: 24, retries });
      expect(
        run.events.flatMap((event) => (event.kind === 'retry' ? [event.error.detail.sqlstate] : [])),
      ).toEqual(Array.from({ length: retries }, () => sqlstate));
      await expectChain(database.pool, stream, chain);
    },
  );

  test('that does not pass is reported after the bound, and nothing of it stays', async () => {
    const devnet = await serve(chainOf(seed()));
    await refuse('lasts', '40001', 1000);
    const request = {
      url: database.url,
      server: devnet.url,
      stream: 'lasts',
      settings: { ...TRANSFERS, ...IMPATIENT },
    };
    const run = supervise({ ...request, follow: false, flight: PATIENT });
    expect(await failureOf(run.result)).toMatchObject({ detail: { sqlstate: '40001', stream: 'lasts' } });
    expect(run.retries()).toBe(4);
    expect(await ledgerOf(database.pool, 'lasts')).toEqual([]);
  });

  test('that is permanent is not tried again', async () => {
    const devnet = await serve(chainOf(seed()));
    await refuse('permanent', '23514', 1000);
    const run = supervise({
      url: database.url,
      server: devnet.url,
      stream: 'permanent',
      settings: TRANSFERS,
    });
    expect(await failureOf(run.result)).toMatchObject({ kind: 'data', detail: { sqlstate: '23514' } });
    expect(run.retries()).toBe(0);
  });
});

describe('pg_terminate_backend', () => {
  test(
    'in the middle of a COPY undoes it, and it is done again',
    async () => {
      let ended = 0;
      await play(RUNS, async (number) => {
        const random = randomFrom(seed() + number * 7919);
        const chain = chainOf(seed() + number);
        const devnet = await serve(chain);
        const stream = `ended_${number}`;
        // Slow enough that a COPY is to be met while it runs.
        const { hostname, port } = new URL(database.url);
        const proxy = await startProxy({ host: hostname, port: () => Number(port) }, () => ({
          pieceBytes: () => 256 + random(1024),
          latency_ms: 1,
        }));
        cleanups.push(proxy.stop);
        const settings = { ...TRANSFERS, ...IMPATIENT, commit_rows: [60, 5000][random(2)]! };
        const live = supervise({
          url: through(proxy, database.url),
          server: devnet.url,
          stream,
          settings,
          follow: false,
        });
        const over = live.result.then(() => true);
        for (let blows = 1 + random(2); blows > 0; blows -= 1) {
          const hit = until('a COPY', async () => {
            await delay(5); // looking without a pause would take the processor from those who are looked at
            const { rowCount } = await database.pool.query(
              `select pg_terminate_backend(pid) from pg_stat_activity
                where application_name like $1 and state = 'active' and query ilike 'copy%'`,
              [`pgstrata % ${stream}`],
            );
            return (rowCount ?? 0) > 0;
          });
          const met = await Promise.race([hit, over.then(() => false)]);
          hit.catch(() => undefined);
          if (!met) break;
          ended += 1;
        }
        expect(await live.result).toMatchObject({ end: 'complete' });
        await expectChain(database.pool, stream, chain);
      });
      // A blow that finds no COPY proves nothing.
      expect(ended).toBeGreaterThanOrEqual(RUNS);
    },
    LIMIT_MS,
  );
});

describe('a restart', () => {
  /** A PostgreSQL of its own, which may be stopped. */
  const openOwn = async () => {
    const dir = await openDataFolder();
    const start = () => startEmbedded({ dir, fsync: false, settings: { shared_buffers: '16MB' } });
    let server = await start();
    cleanups.push(async () => {
      await server.stop();
      await rm(dir, { recursive: true, force: true });
    });
    await migrate({ connectionString: server.url });
    return {
      url: () => server.url,
      // Not by our own way of leaving it, which spares a server that somebody is connected to.
      stop: async () => {
        const { pid } = (await readPostmaster(server.dataDir))!;
        process.kill(pid, 'SIGINT');
        await until('the server to stop', () => !isAlive(pid));
      },
      start: async () => {
        server = await start();
      },
    };
  };

  test('of PostgreSQL, four minutes later, and then of both sides at once, costs nothing but time', async () => {
    const own = await openOwn();
    const chain = chainOf(seed());
    let devnet = await serve(chain);
    const { port } = devnet;
    const clock = fastClock(200);
    const live = supervise({
      url: own.url,
      server: devnet.url,
      stream: 'away',
      settings: TRANSFERS,
      clock,
      watchEvery_ms: 60_000,
    });
    cleanups.push(live.end);
    await until('the first blocks', () => live.committed() === 23);

    await own.stop();
    const away = clock.now();
    chain.advance(3);
    await until('four minutes', () => clock.now() - away >= 240_000 && live.retries() > 5);
    await own.start();
    await until('the next blocks', () => live.committed() === 26);
    expect(live.events.some((event) => event.kind === 'breaker' && event.state === 'open')).toBe(true);

    await Promise.all([own.stop(), devnet.stop()]);
    const before = live.retries();
    await until('it to miss them', () => live.retries() > before + 2);
    chain.reorg(5, 3);
    chain.advance(4);
    devnet = await serve(chain, port);
    await own.start();
    await until('the last block', () => live.committed() === chain.view().head);
    expect(await live.stop()).toMatchObject({ end: 'stopped', reorgs: 1 });

    const pool = createPool(own.url());
    try {
      await expectChain(pool, 'away', chain);
      expect(await verifyBalances(pool, { oneIn: 1 })).toMatchObject({ differences: 0 });
      expect(await openTransactions(pool)).toEqual([]);
    } finally {
      await pool.end();
    }
  });
});
