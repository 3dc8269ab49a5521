/** Ctrl-C: the first lets the batch in hand finish and ends well, the second ends at once; either is safe. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createChain } from '../../src/devnet/chain.ts';
import type { SimulatedChain } from '../../src/devnet/chain.ts';
import { startDevnet } from '../../src/devnet/server.ts';
import type { Devnet } from '../../src/devnet/server.ts';
import { useDatabase } from '../database.ts';
import { until } from '../db/until.ts';
import { TRANSFERS } from '../jobs/loading.ts';
import {
  changesOf,
  expectLedger,
  expectSame,
  ledgerOf,
  openTransactions,
  storedChanges,
} from '../jobs/oracle.ts';
import { jsonOf, openFolder } from './command.ts';
import type { Folder, RunningCommand } from './command.ts';

const database = useDatabase();
let folder: Folder;
let devnet: Devnet<SimulatedChain>;
const STREAMS = ['stopped', 'caught', 'ended', 'finished'];

beforeAll(async () => {
  devnet = await startDevnet({
    chain: createChain({ blocks: 20, accounts: 8, tokens: 2, transfersPerBlock: 10 }),
    microbatchBlocks: 2,
  });
  folder = await openFolder();
  await folder.writePolicy({
    servers: { devnet: { url: devnet.url } },
    streams: Object.fromEntries(STREAMS.map((stream) => [stream, { ...TRANSFERS, server: 'devnet' }])),
  });
});
afterAll(async () => {
  await folder.remove();
  await devnet.stop();
});

const start = (stream: string): RunningCommand =>
  folder.start(['ingest', stream, '--follow', '--json'], {
    DATABASE_URL: database.url,
    PGSTRATA_LOG: 'info',
  });

/** Rows and ledger agree with each other and with the chain, as far as they go. */
const expectConsistent = async (stream: string): Promise<number> => {
  const position = (await ledgerOf(database.pool, stream)).at(-1)?.end ?? -1;
  await expectLedger(database.pool, stream, devnet.chain, { to: position });
  expectSame(await storedChanges(database.pool, stream), changesOf(devnet.chain, 0, position));
  // The server notices that a client is gone when it next looks at the socket.
  await until('its transaction to end', async () => (await openTransactions(database.pool)).length === 0);
  return position;
};

const untilLoaded = (stream: string, block: number): Promise<unknown> =>
  until(`block ${block}`, async () => ((await ledgerOf(database.pool, stream)).at(-1)?.end ?? -1) >= block);

describe('a followed ingest', () => {
  test.each(['SIGINT', 'SIGTERM'] as const)(
    'ends well on one %s, with all it said it loaded',
    async (signal) => {
      const stream = signal === 'SIGINT' ? 'stopped' : 'ended';
      const running = start(stream);
      await untilLoaded(stream, 19);
      running.child.kill(signal);
      const finished = await running.finished;
      expect(finished, finished.stderr).toMatchObject({ code: 0, signal: null });
      expect(jsonOf(finished)).toMatchObject({ streams: [{ stream, end: 'stopped', blocks: 20 }] });
      expect(finished.stderr).toContain(`${signal}: finishing the batch in hand`);
      expect(await expectConsistent(stream)).toBe(19);
    },
  );

  const isWaiting = async (): Promise<boolean> => {
    const { rowCount } = await database.pool.query(
      `select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock' and query ilike '%stream_batches%'`,
    );
    return rowCount === 1;
  };

  /** Sends the first Ctrl-C while a batch is being written: whoever holds the ledger holds up its commit. */
  const interruptCommit = async (
    stream: string,
  ): Promise<{ running: RunningCommand; release: () => Promise<void>; head: number }> => {
    const running = start(stream);
    await untilLoaded(stream, devnet.chain.view().head ?? -1);
    const holder = await database.pool.connect();
    await holder.query('begin; lock table strata.stream_batches in exclusive mode');
    devnet.chain.advance(1);
    await until('the commit to wait', isWaiting);
    running.child.kill('SIGINT');
    await until('it to say so', () =>
      running.lines.some((line) => line.includes('finishing the batch in hand')),
    );
    expect(running.child.exitCode).toBeNull();
    const release = async (): Promise<void> => {
      await holder.query('rollback');
      holder.release();
    };
    return { running, release, head: devnet.chain.view().head ?? -1 };
  };

  test('finishes the batch that is being written before it ends', async () => {
    const { running, release, head } = await interruptCommit('finished');
    await release();
    expect(await running.finished).toMatchObject({ code: 0 });
    expect(await expectConsistent('finished')).toBe(head);
  });

  test('ends at once at a second Ctrl-C, and the batch comes again', async () => {
    const { running, release, head } = await interruptCommit('caught');
    running.child.kill('SIGINT');
    expect(await running.finished).toMatchObject({ code: 130, stdout: '' });
    await release();
    await until('its session to end', async () => !(await isWaiting()));
    expect(await expectConsistent('caught')).toBe(head - 1);

    const again = start('caught');
    await untilLoaded('caught', head);
    again.child.kill('SIGINT');
    expect(await again.finished).toMatchObject({ code: 0 });
    expect(await expectConsistent('caught')).toBe(head);
  });
});
