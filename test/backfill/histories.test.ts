/**
 * Any history of a backfill: connections that die at any statement, runs that are stopped, forks as deep as the weeks, a second
 * stream in the same weeks, a live one beside it. In the end everything is there once, and every balance is what the oracle folds.
 */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { createPool } from '../../src/db/pool.ts';
import type { Pool } from '../../src/db/query.ts';
import { createChain, type SimulatedChain } from '../../src/devnet/chain.ts';
import { startDevnet, type Devnet } from '../../src/devnet/server.ts';
import { WarehouseError } from '../../src/runtime/errors.ts';
import { verifyBalances } from '../../src/warehouse/verify.ts';
import { expectExact } from '../balances/tables.ts';
import { useDatabase } from '../database.ts';
import { until } from '../db/until.ts';
import { load, TRANSFERS, type Settings } from '../jobs/loading.ts';
import { expectChain, openTransactions } from '../jobs/oracle.ts';
import { dyingPool } from '../partitions/dying-pool.ts';
import { propertyOptions } from '../seed.ts';
import { journalOf, shapeOf } from './tables.ts';

const database = useDatabase();

const REORG_BUFFER = 4;
/** Enough for two that fold a week together. */
const CONNECTIONS = 9;
const NOW = new Date('2027-01-01T00:00:00Z');
/** Weeks of the chains: some more come when they grow. */
const BLOCKS = 56;
const BLOCK_SECONDS = 43_200;

/** What becomes of one run of a stream. */
const run = fc.record({
  stream: fc.constantFrom('a', 'b', 'live'),
  parallel: fc.record({
    workers: fc.integer({ min: 1, max: 3 }),
    partition_blocks: fc.integer({ min: 3, max: 40 }),
    bulk: fc.oneof({ weight: 5, arbitrary: fc.constant(true) }, { weight: 1, arbitrary: fc.constant(false) }),
  }),
  /** Its connections die at this statement, which is still sent or not. */
  death: fc.option(fc.record({ at: fc.integer({ min: 1, max: 260 }), sent: fc.boolean() }), { freq: 2 }),
  /** It is stopped after so many events. */
  stopAfter: fc.option(fc.integer({ min: 1, max: 12 }), { freq: 3 }),
  /** Another run begins at the same moment. */
  beside: fc.option(fc.constantFrom('a', 'b', 'live'), { freq: 3 }),
  fork: fc.option(fc.integer({ min: 1, max: 30 }), { freq: 4 }),
  grow: fc.nat({ max: 10 }),
});
type Run = typeof run extends fc.Arbitrary<infer T> ? T : never;

/** One stream with its own chain behind its own server. */
interface Served {
  readonly chain: SimulatedChain;
  readonly devnet: Devnet<SimulatedChain>;
}

const serve = async (seed: number): Promise<Served> => {
  const chain = createChain({
    seed,
    accounts: 6,
    tokens: 2,
    transfersPerBlock: 2,
    logsPerBlock: 0,
    blocks: BLOCKS,
    blockSeconds: BLOCK_SECONDS,
    remembersForks: seed % 2 === 0,
  });
  return { chain, devnet: await startDevnet({ chain, rowsPerMessage: 9 }) };
};

const settingsOf = (stream: string, parallel: Run['parallel']): Settings =>
  stream === 'live' ? TRANSFERS : { ...TRANSFERS, parallel: { ...parallel, reorg_buffer: REORG_BUFFER } };

/** Everything that ends a run in this test: a death, or another run of the same stream. */
const expectTold = (thrown: unknown): void => {
  if (
    !(thrown instanceof WarehouseError) ||
    !['connection', 'conflict', 'database', 'cancelled'].includes(thrown.kind)
  )
    throw thrown;
};

/** Waits until the server has noticed that the sessions are gone. */
const buried = (pool: Pool): Promise<unknown> =>
  until('the dead sessions to be gone', async () => {
    const { rowCount } = await pool.query(
      `select from pg_stat_activity where datname = current_database() and application_name = 'to die'`,
    );
    return rowCount === 0;
  });

const once = async (
  url: string,
  served: ReadonlyMap<string, Served>,
  stream: string,
  { parallel, stopAfter, death }: Pick<Run, 'parallel' | 'stopAfter' | 'death'>,
): Promise<void> => {
  const stopping = new AbortController();
  const pool =
    death === null
      ? createPool(url, { max: CONNECTIONS })
      : dyingPool(url, death.at, death.sent, CONNECTIONS);
  pool.on('error', () => undefined);
  let events = 0;
  try {
    await load({
      pool,
      url: served.get(stream)!.devnet.url,
      stream,
      settings: settingsOf(stream, parallel),
      now: NOW,
      signal: stopping.signal,
      onEvent: ({ kind }) => {
        if (kind === 'partition' || kind === 'week' || kind === 'committed') events += 1;
        if (events === stopAfter) stopping.abort(new Error('enough'));
      },
    });
  } catch (thrown) {
    expectTold(thrown);
  } finally {
    await pool.end();
  }
};

const play = async (
  url: string,
  pool: Pool,
  served: ReadonlyMap<string, Served>,
  runs: readonly Run[],
): Promise<void> => {
  for (const each of runs) {
    const { chain } = served.get(each.stream)!;
    if (each.fork !== null) chain.reorg(Math.min(each.fork, chain.view().head! - 1), each.fork + 1);
    chain.advance(each.grow);
    const beside = each.beside === null ? null : once(url, served, each.beside, { ...each, death: null });
    await Promise.all([once(url, served, each.stream, each), beside]);
    await buried(pool);
    // Whatever has happened: what can be read is whole, and what is folded is exact.
    expect(await verifyBalances(pool, { oneIn: 1 })).toMatchObject({ differences: 0, first: [] });
  }
  for (const [stream, { chain }] of served) {
    // A chain that has become shorter says so only by going on.
    chain.advance(REORG_BUFFER + 2);
    await once(url, served, stream, { parallel: runs[0]!.parallel, stopAfter: null, death: null });
  }
};

test('ends exact', async () => {
  await fc.assert(
    fc.asyncProperty(fc.nat(), fc.array(run, { minLength: 1, maxLength: 4 }), async (seed, runs) => {
      const { url } = await database.createDatabase();
      const pool = createPool(url, { max: 2 });
      const names = [
        ...new Set(runs.flatMap(({ stream, beside }) => [stream, ...(beside === null ? [] : [beside])])),
      ];
      const served = new Map<string, Served>();
      try {
        for (const [index, name] of names.entries()) served.set(name, await serve(3 * seed + index));
        await play(url, pool, served, runs);
        for (const [stream, { chain }] of served) await expectChain(pool, stream, chain);
        await expectExact(pool);
        expect(await verifyBalances(pool, { oneIn: 1 })).toMatchObject({ differences: 0 });
        expect((await journalOf(pool)).filter(({ state }) => state !== 'attached')).toEqual([]);
        expect(await openTransactions(pool)).toEqual([]);
        expect((await shapeOf(pool)).filter((line) => line.includes('fresh'))).toEqual([]);
      } finally {
        for (const { devnet } of served.values()) await devnet.stop();
        await pool.end();
      }
    }),
    propertyOptions(3),
  );
});
