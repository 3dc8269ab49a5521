/** Any history of a catch-up: holes of every shape, workers that break off, forks meanwhile; in the end each block is there once. */
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { createPool } from '../../src/db/pool.ts';
import type { Pool } from '../../src/db/query.ts';
import { createChain } from '../../src/devnet/chain.ts';
import { startDevnet } from '../../src/devnet/server.ts';
import type { IngestResult } from '../../src/jobs/ingest.ts';
import { useDatabase } from '../database.ts';
import { propertyOptions } from '../seed.ts';
import { load, LOGS, TRANSFERS } from './loading.ts';
import { logsOf, storedLogs } from './log-rows.ts';
import { expectChain, expectLedger, expectSame, openTransactions, wrongBalances } from './oracle.ts';

const database = useDatabase();

/** Nobody's business but the test's: it would not end itself. */
let executioner: Pool;
beforeAll(() => {
  executioner = createPool(database.url, { max: 1 });
});
afterAll(() => executioner.end());

afterEach(async () => expect(await openTransactions(database.pool)).toEqual([]));

const REORG_BUFFER = 20;

/** How history is cut, and by how many it is loaded. */
const parallel = fc
  .record({
    workers: fc.oneof(fc.integer({ min: 1, max: 8 }), fc.constant('auto')),
    size: fc.oneof(
      fc.record({ partitions: fc.integer({ min: 1, max: 12 }) }),
      fc.record({ partition_blocks: fc.integer({ min: 1, max: 40 }) }),
      fc.record({ target_rows: fc.integer({ min: 1, max: 80 }) }),
    ),
    stop_on_error: fc.boolean(),
  })
  .map(({ size, ...others }) => ({ ...others, ...size, reorg_buffer: REORG_BUFFER }));

/** What happens when so many partitions have begun or ended. */
const mishap = fc.record({
  after: fc.integer({ min: 1, max: 25 }),
  kind: fc.constantFrom('stop', 'break', 'fork', 'grow', 'kill'),
  size: fc.integer({ min: 1, max: REORG_BUFFER - 1 }),
});

const run = fc.record({ parallel, mishaps: fc.array(mishap, { maxLength: 4 }) });

let streams = 0;

/** Ends a few of the sessions that are in the middle of something. */
const killSome = async (most: number): Promise<void> => {
  await executioner.query(
    `select pg_terminate_backend(pid) from pg_stat_activity
      where datname = current_database() and pid <> pg_backend_pid() and state in ('active', 'idle in transaction') limit $1`,
    [most % 3],
  );
};

/** Loads a chain by several runs, each with its mishaps, then by one without any. */
const play = async (
  settings: object,
  stream: string,
  seed: number,
  runs: readonly {
    readonly parallel: object;
    readonly mishaps: readonly { after: number; kind: string; size: number }[];
  }[],
  between: () => Promise<void>,
): Promise<ReturnType<typeof createChain>> => {
  const chain = createChain({
    seed,
    accounts: 8,
    tokens: 2,
    transfersPerBlock: 2,
    logsPerBlock: 2,
    blocks: 90,
    blockSeconds: 20_000,
    remembersForks: seed % 2 === 0,
  });
  const devnet = await startDevnet({ chain, rowsPerMessage: 7, keepAliveRate: 0.2 });
  const killed: Promise<unknown>[] = [];
  const once = (
    mishaps: (typeof runs)[number]['mishaps'],
    parallelSettings: object,
  ): Promise<IngestResult> => {
    const stopping = new AbortController();
    let events = 0;
    return load({
      pool: database.pool,
      url: devnet.url,
      stream,
      settings: { ...settings, parallel: parallelSettings },
      signal: stopping.signal,
      onEvent: ({ kind }) => {
        if (kind !== 'partition') return;
        events += 1;
        for (const mishap of mishaps.filter(({ after }) => after === events)) {
          if (mishap.kind === 'stop') stopping.abort(new Error('enough'));
          if (mishap.kind === 'break') devnet.failNext({ afterMessages: mishap.size % 4 });
          if (mishap.kind === 'fork') chain.reorg(mishap.size, mishap.size + 1);
          if (mishap.kind === 'grow') chain.advance(mishap.size);
          if (mishap.kind === 'kill') killed.push(killSome(mishap.size));
        }
      },
    });
  };
  try {
    for (const { parallel: parallelSettings, mishaps } of runs) {
      await once(mishaps, parallelSettings).catch((error: unknown) => {
        expect(error).toMatchObject({ kind: expect.stringMatching(/^(connection|database)$/) as string });
      });
      await between();
    }
    // Failures that were planned and not met yet come now; each ends one try.
    const tries = runs.flatMap(({ mishaps }) => mishaps).length + 1;
    for (let left = tries; left > 0; left -= 1) {
      const end = await once([], runs[0]?.parallel ?? {}).catch((error: unknown) => {
        expect(error).toMatchObject({ kind: expect.stringMatching(/^(connection|database)$/) as string });
        return null;
      });
      if (end !== null) return chain;
    }
    throw new Error('the last runs came to nothing');
  } finally {
    await Promise.all(killed);
    await devnet.stop();
  }
};

test('balance changes and balances', async () => {
  await fc.assert(
    fc.asyncProperty(fc.nat(), fc.array(run, { minLength: 1, maxLength: 3 }), async (seed, runs) => {
      const stream = `played_${(streams += 1)}`;
      const chain = await play(TRANSFERS, stream, seed, runs, () => Promise.resolve());
      await expectChain(database.pool, stream, chain);
      expect(await wrongBalances(database.pool)).toEqual([]);
    }),
    propertyOptions(3),
  );
});

test('holes of every shape', async () => {
  const holes = fc.array(fc.nat({ max: 200 }), { maxLength: 12 });
  await fc.assert(
    fc.asyncProperty(
      fc.nat(),
      fc.array(run, { minLength: 1, maxLength: 3 }),
      holes,
      async (seed, runs, lost) => {
        const stream = `holed_${(streams += 1)}`;
        // What the ledger has lost, rows and all: whole partitions, many of one block, neighbours among them. The lowest stays, since
        // it says where the stream begins.
        const between = async (): Promise<void> => {
          const { rows } = await database.pool.query<{
            source_id: number;
            start_block: number;
            end_block: number;
          }>(
            `select b.source_id, b.start_block, b.end_block from strata.stream_batches b join strata.sources s using (source_id)
            where s.stream = $1 order by start_block offset 1`,
            [stream],
          );
          for (const row of new Set(lost.map((index) => rows[index % Math.max(1, rows.length)])))
            if (row !== undefined) {
              await database.pool.query(`delete from ${stream} where _block_num between $1 and $2`, [
                row.start_block,
                row.end_block,
              ]);
              await database.pool.query(
                'delete from strata.stream_batches where source_id = $1 and start_block = $2',
                [row.source_id, row.start_block],
              );
            }
        };
        const chain = await play({ ...LOGS, table: stream }, stream, seed, runs, between);
        expectSame(await storedLogs(database.pool, stream), logsOf(chain));
        await expectLedger(database.pool, stream, chain, {});
      },
    ),
    propertyOptions(3),
  );
});
