/** Servers that know no blocks: the whole result in one transaction, once, or in spans that do not touch. */
import { afterEach, expect, test } from 'vitest';
import { createChain } from '../../src/devnet/chain.ts';
import type { SimulatedChain } from '../../src/devnet/chain.ts';
import { startDevnet } from '../../src/devnet/server.ts';
import type { Devnet } from '../../src/devnet/server.ts';
import { useDatabase } from '../database.ts';
import { failureOf } from '../flight/collect.ts';
import { startFake } from '../flight/fake-server.ts';
import { load, LOGS, TRANSFERS } from './loading.ts';
import { logsOf, storedLogs } from './log-rows.ts';
import { changesOf, expectSame, fingerprint, ledgerOf, openTransactions, storedChanges } from './oracle.ts';

const database = useDatabase();

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
  expect(await openTransactions(database.pool)).toEqual([]);
});

const serve = async (): Promise<Devnet<SimulatedChain>> => {
  const devnet = await startDevnet({
    chain: createChain({ blocks: 20, accounts: 10, tokens: 2, transfersPerBlock: 6, logsPerBlock: 5 }),
    rowsPerMessage: 12,
  });
  cleanups.push(devnet.stop);
  return devnet;
};

const kind = 'flight-sql';

test('a result is loaded once, as transfers and as rows', async () => {
  const { url, chain } = await serve();
  const transfers = {
    pool: database.pool,
    url,
    kind,
    stream: 'whole',
    settings: { ...TRANSFERS, commit_rows: 7 },
  } as const;
  expect(await load(transfers)).toMatchObject({ end: 'complete', batches: 1, rows: changesOf(chain).length });
  // The asset's network is not the server's to say: only account, place and amount are compared.
  const withoutAsset = (lines: readonly string[]): string[] =>
    lines.map((line) => line.replace(/ -?\d+/, '')).toSorted();
  expectSame(withoutAsset(await storedChanges(database.pool, 'whole')), withoutAsset(changesOf(chain)));
  expect((await load(transfers)).end).toBe('nothing new');

  const rows = {
    pool: database.pool,
    url,
    kind,
    stream: 'whole_rows',
    settings: { ...LOGS, table: 'whole_rows' },
  } as const;
  await load(rows);
  expectSame(await storedLogs(database.pool, 'public.whole_rows'), logsOf(chain));
});

test('spans that do not touch are loaded beside each other, others refused', async () => {
  const { url, chain } = await serve();
  const request = { pool: database.pool, url, kind, stream: 'spans', settings: TRANSFERS } as const;
  expect(await load({ ...request, from: 5, to: 10 })).toMatchObject({ end: 'complete', blocks: 5 });
  expect((await load({ ...request, from: 6, to: 8 })).end).toBe('nothing new');
  expect(await failureOf(load({ ...request, from: 8, to: 12 }))).toMatchObject({
    kind: 'conflict',
    detail: { remedy: expect.any(String) as string },
  });
  await load({ ...request, from: 10, to: 20 });
  expect((await storedChanges(database.pool, 'spans')).length).toBe(changesOf(chain, 5, 19).length);
});

test('a result that breaks off leaves nothing, and cannot be followed', async () => {
  const devnet = await serve();
  const before = await fingerprint(database.pool);
  const request = {
    pool: database.pool,
    url: devnet.url,
    kind,
    stream: 'cut',
    settings: { ...TRANSFERS, commit_rows: 1 },
  } as const;
  devnet.failNext({ afterMessages: 6 });
  expect(await failureOf(load(request))).toMatchObject({ kind: 'connection' });
  expect(await fingerprint(database.pool)).toEqual(before);
  expect(await failureOf(load({ ...request, follow: true }))).toMatchObject({
    kind: 'usage',
    message: expect.stringMatching(/cannot be followed/) as string,
  });
  expect((await load(request)).end).toBe('complete');
});

test('a server with nothing to say at all has nothing synced', async () => {
  const mute = await startFake({ get: (call) => call.end() });
  cleanups.push(mute.stop);
  expect(
    (await load({ pool: database.pool, url: mute.url, kind, stream: 'mute', settings: TRANSFERS })).end,
  ).toBe('nothing synced');
  expect(await ledgerOf(database.pool, 'mute', 'none')).toEqual([]);
});
