/** `ingest --follow` and `status` as processes: one stream stops on an error, the other goes on, and both say so by exit code. */
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { startEmbedded } from '../../src/db/embedded.ts';
import { isAlive, readPostmaster } from '../../src/db/server-process.ts';
import { createChain } from '../../src/devnet/chain.ts';
import type { SimulatedChain } from '../../src/devnet/chain.ts';
import { startDevnet } from '../../src/devnet/server.ts';
import type { Devnet } from '../../src/devnet/server.ts';
import { useDatabase } from '../database.ts';
import { until } from '../db/until.ts';
import { TRANSFERS } from '../jobs/loading.ts';
import { expectChain, ledgerOf, openTransactions } from '../jobs/oracle.ts';
import { jsonOf, openFolder } from './command.ts';
import type { Folder } from './command.ts';

const database = useDatabase();
const SECRET = '5ecr3t-token-0f-the-test';
let folder: Folder;
let devnet: Devnet<SimulatedChain>;

beforeAll(async () => {
  const chain = createChain({ blocks: 12, accounts: 8, tokens: 2, transfersPerBlock: 5 });
  devnet = await startDevnet({ chain, microbatchBlocks: 3, token: SECRET });
  folder = await openFolder();
  const broken = { ...TRANSFERS, query: `SELECT _block_num, nonsense FROM transfers -- ${SECRET}` };
  await folder.writePolicy({
    servers: { devnet: { url: devnet.url, token: SECRET } },
    streams: {
      sound: { ...TRANSFERS, server: 'devnet', retry: { delay_ms: 20 } },
      broken: { ...broken, server: 'devnet' },
    },
  });
});
afterEach(async () => {
  expect(await openTransactions(database.pool)).toEqual([]);
});
afterAll(async () => {
  await folder.remove();
  await devnet.stop();
});

test('a stream that stops leaves the other one alone; status exits 1, and so does ingest in the end', async () => {
  const environment = { DATABASE_URL: database.url };
  const running = folder.start(['ingest', '--follow', '--json'], environment);
  const position = async (): Promise<number> => (await ledgerOf(database.pool, 'sound')).at(-1)?.end ?? -1;
  await until('it to say that one stopped', () =>
    running.lines.some((line) => line.includes('stream stopped')),
  );
  await until('the other one', async () => (await position()) === 11);
  devnet.disconnect();
  devnet.chain.advance(3);
  await until('it to go on', async () => (await position()) === 14);
  const reported = async (): Promise<boolean> => {
    const { rowCount } = await database.pool.query(
      `select from strata.stream_health where stream = 'broken' and state = 'stopped'`,
    );
    return rowCount === 1;
  };
  await until('the report', reported);
  const status = await folder.run(['status', '--json'], environment);
  expect(status.code, status.stderr).toBe(1);
  expect(jsonOf(status)).toMatchObject({
    streams: [
      {
        stream: 'broken',
        state: 'stopped',
        network: null,
        position: null,
        last_error: {
          grpc_status: 'INVALID_ARGUMENT',
          kind: 'protocol',
          remedy: expect.any(String) as string,
        },
      },
      { stream: 'sound', state: 'running', network: 'devnet', position: 14, gaps: 0 },
    ],
  });
  running.child.kill('SIGTERM');
  const finished = await running.finished;
  expect(finished, finished.stderr).toMatchObject({ code: 1 });
  expect(jsonOf(finished)).toMatchObject({
    streams: [
      { stream: 'sound', end: 'stopped', blocks: 15, retries: expect.any(Number) as number },
      { stream: 'broken', grpcStatus: 'INVALID_ARGUMENT' },
    ],
  });
  await expectChain(database.pool, 'sound', devnet.chain);
  const text = await folder.run(['status'], environment);
  expect(text.code).toBe(1);
  expect(text.stdout).toMatch(/^broken stopped/m);
  for (const { stdout, stderr } of [status, finished, text]) expect(stdout + stderr).not.toContain(SECRET);
});

test('a process that says nothing any more is lost', async () => {
  await database.pool.query(
    `update strata.stream_health set state = 'running', updated_at = now() - interval '3 minutes' where stream = 'sound'`,
  );
  const { rows } = await database.pool.query(`select state from strata.stream_status where stream = 'sound'`);
  expect(rows).toEqual([{ state: 'lost' }]);
});

test('an embedded PostgreSQL that goes away is started again', async () => {
  const own = await openFolder();
  try {
    const chain = createChain({ blocks: 12, accounts: 8, tokens: 2, transfersPerBlock: 5 });
    const server = await startDevnet({ chain });
    await own.writePolicy({
      servers: { devnet: { url: server.url } },
      streams: { kept: { ...TRANSFERS, server: 'devnet' } },
      retry: { delay_ms: 100 },
    });
    expect(await own.run(['migrate'])).toMatchObject({ code: 0 });
    const running = own.start(['ingest', '--follow', '--json'], { PGSTRATA_LOG: 'info' });
    const committed = (block: number) =>
      until(`block ${block}`, () => running.lines.some((line) => line.includes(`"block":${block},`)));
    await committed(11);
    const attached = await startEmbedded({ dir: join(own.path, '.pgstrata') });
    const { pid } = (await readPostmaster(attached.dataDir))!;
    process.kill(pid, 'SIGINT');
    await until('PostgreSQL to go away', () => !isAlive(pid));
    await attached.stop();
    chain.advance(3);
    await committed(14);
    running.child.kill('SIGTERM');
    expect(await running.finished).toMatchObject({ code: 0 });
    await server.stop();
  } finally {
    await own.remove();
  }
});
