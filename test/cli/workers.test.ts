/** `ingest --workers` as a process: what each worker does is a line of JSON, two processes exclude each other, a killed one is continued. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ingestCommand } from '../../src/cli/commands/ingest.ts';
import { createChain } from '../../src/devnet/chain.ts';
import type { SimulatedChain } from '../../src/devnet/chain.ts';
import { startDevnet } from '../../src/devnet/server.ts';
import type { Devnet } from '../../src/devnet/server.ts';
import { useDatabase } from '../database.ts';
import { TRANSFERS } from '../jobs/loading.ts';
import { expectChain, wrongBalances } from '../jobs/oracle.ts';
import { jsonOf, openFolder } from './command.ts';
import type { Folder } from './command.ts';

const database = useDatabase();
let folder: Folder;
let devnet: Devnet<SimulatedChain>;

const environment = (): NodeJS.ProcessEnv => ({ DATABASE_URL: database.url, PGSTRATA_LOG: 'info' });

beforeAll(async () => {
  const chain = createChain({
    blocks: 200,
    accounts: 20,
    tokens: 3,
    transfersPerBlock: 5,
    blockSeconds: 3000,
  });
  devnet = await startDevnet({ chain, latency_ms: 5 });
  folder = await openFolder();
  const stream = { ...TRANSFERS, server: 'devnet', parallel: { partition_blocks: 10, reorg_buffer: 20 } };
  await folder.writePolicy({ servers: { devnet: { url: devnet.url } }, streams: { first: stream } });
});
afterAll(async () => {
  await folder.remove();
  await devnet.stop();
});

/** What is logged of partitions. */
interface Logged {
  readonly msg: string;
  readonly worker: number;
  readonly state: string;
  readonly done?: number;
  readonly total?: number;
}

const loggedIn = (text: string): Logged[] =>
  text.split('\n').flatMap((line) => (line.startsWith('{') ? [JSON.parse(line) as Logged] : []));

test('a number that is none is misuse', async () => {
  const command = ingestCommand()
    .exitOverride()
    .configureOutput({ writeErr: () => undefined });
  await expect(command.parseAsync(['--workers', '0'], { from: 'user' })).rejects.toThrow(/1 to 64, or auto/);
});

test('killed in the middle and started twice at once: one goes on, the other says so, and no block is there twice', async () => {
  let loaded = 0;
  const killed = folder.start(['ingest', '--workers', '3', '--json'], environment(), (line) => {
    if (line.includes('"state":"loaded"')) loaded += 1;
    if (loaded === 6) killed.child.kill('SIGKILL');
  });
  expect(await killed.finished).toMatchObject({ signal: 'SIGKILL' });
  const both = await Promise.all(
    [1, 2].map(() => folder.run(['ingest', '--workers', '3', '--json'], environment())),
  );
  const done = both.find(({ code }) => code === 0);
  expect(done).toBeDefined();
  for (const other of both.filter((run) => run !== done))
    // The other one came too late to be refused, or was.
    expect(other.code === 0 || /another process is loading/.test(other.stderr)).toBe(true);
  await expectChain(database.pool, 'first', devnet.chain);
  expect(await wrongBalances(database.pool)).toEqual([]);
  const blocks = both.flatMap((run) =>
    run.code === 0 ? (jsonOf(run) as { streams: { blocks: number }[] }).streams : [],
  );
  expect(blocks.reduce((sum, stream) => sum + stream.blocks, 0)).toBeLessThanOrEqual(200 - 6 * 4);
  const lines = both.flatMap(({ stderr }) => loggedIn(stderr));
  const workers = new Set(lines.filter(({ msg }) => msg === 'partition').map(({ worker }) => worker));
  expect([...workers].toSorted((a, b) => a - b)).toEqual([1, 2, 3]);
  const last = lines.findLast(({ msg }) => msg === 'catching up');
  expect(last?.done).toBe(last?.total);
});
