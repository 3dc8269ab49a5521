/** Servers that are slow or silent, and a disk that is really full: the run ends with the cause, and nothing hangs. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { createPool } from '../../src/db/pool.ts';
import { createChain } from '../../src/devnet/chain.ts';
import { startDevnet } from '../../src/devnet/server.ts';
import { connectFlight } from '../../src/flight/client.ts';
import { ingest } from '../../src/jobs/ingest.ts';
import { useDatabase } from '../database.ts';
import { startFake } from '../flight/fake-server.ts';
import { failureOf } from '../flight/collect.ts';
import { until } from '../db/until.ts';
import { load, LOGS, policyOf } from './loading.ts';
import { logsOf, storedLogs } from './log-rows.ts';
import { expectSame, fingerprint, ledgerOf, openTransactions } from './oracle.ts';
import { microbatch, rangeOf, SCRIPTED_TRANSFERS, serveScript, transfersBatch } from './scripted-server.ts';

const database = useDatabase();

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
  expect(await openTransactions(database.pool)).toEqual([]);
});

describe('a server that never answers', () => {
  test('the question what there is: the run gives up in bounded time', async () => {
    const server = await startFake({ info: () => undefined });
    cleanups.push(server.stop);
    const before = await fingerprint(database.pool);
    const error = await failureOf(
      load({
        pool: database.pool,
        url: server.url,
        stream: 'silent',
        settings: SCRIPTED_TRANSFERS,
        flight: { connectTimeout_ms: 200, infoTimeout_ms: 200 },
      }),
    );
    expect(error).toMatchObject({
      kind: 'connection',
      detail: { stream: 'silent', remedy: expect.any(String) as string },
    });
    expect(error.message).toMatch(/within 200 ms/);
    expect(await fingerprint(database.pool)).toEqual(before);
  });

  test('the question for the head: the run gives up in bounded time', async () => {
    const server = await startFake({ get: () => undefined });
    cleanups.push(server.stop);
    const client = connectFlight({ url: server.url });
    cleanups.push(client.close);
    const config = policyOf(server.url, { headless: SCRIPTED_TRANSFERS }).streams['headless']!;
    const error = await failureOf(
      ingest({
        pool: database.pool,
        client,
        stream: 'headless',
        config,
        serverKind: 'amp',
        window: { from: null, to: null },
        follow: false,
        signal: new AbortController().signal,
        now: new Date(),
        onEvent: () => undefined,
        headLimit_ms: 100,
      }),
    );
    expect(error).toMatchObject({ kind: 'connection', detail: { stream: 'headless' } });
    expect(error.message).toMatch(/did not say within 100 ms where its head is/);
  });

  test('after a whole microbatch: what is whole is there, and the run stops when asked', async () => {
    const blocks = microbatch([rangeOf(0, 1)], transfersBatch([{ block: 0 }, { block: 1 }]));
    const half = { batch: transfersBatch([{ block: 2 }]), ranges: [rangeOf(2, 5)] };
    const server = await serveScript([rangeOf(0, 5)], () => [...blocks, half, { wait: 'for ever' }]);
    cleanups.push(server.stop);
    const stopping = new AbortController();
    const running = load({
      pool: database.pool,
      url: server.url,
      stream: 'stalled',
      settings: { ...SCRIPTED_TRANSFERS, commit_rows: 1 },
      signal: stopping.signal,
    });
    await until(
      'the first microbatch',
      async () => (await ledgerOf(database.pool, 'stalled', 'scripted')).length === 1,
    );
    stopping.abort();
    expect(await running).toMatchObject({ end: 'stopped', rows: 4 });
    expect(await ledgerOf(database.pool, 'stalled', 'scripted')).toMatchObject([
      { start: 0, end: 1, rows: 4 },
    ]);
  });
});

/** A file system of a few megabytes that belongs to a user; null where we may not make one. */
const mountSmall = (owner: number, megabytes: number): string | null => {
  const directory = mkdtempSync(join(tmpdir(), 'pgstrata-full-'));
  try {
    execFileSync(
      '/bin/mount',
      ['-t', 'tmpfs', '-o', `size=${megabytes}m,uid=${owner},mode=0700`, 'tmpfs', directory],
      { stdio: 'ignore' },
    );
    return directory;
  } catch {
    rmSync(directory, { recursive: true });
    return null;
  }
};

const unmount = (directory: string): void => {
  execFileSync('/bin/umount', [directory], { stdio: 'ignore' });
  rmSync(directory, { recursive: true });
};

/** Only a server of ours runs on this machine for certain, and with a superuser; only root mounts. */
const canFillDisk = (): boolean => {
  const isOurs = !process.env['TEST_DATABASE_URL'] && !process.env['PGSTRATA_TEST_IMAGE'];
  if (!isOurs || process.getuid?.() !== 0) return false;
  const directory = mountSmall(0, 1);
  if (directory !== null) unmount(directory);
  return directory !== null;
};

const canFill = canFillDisk();
if (!canFill)
  console.warn(
    'LEFT OUT: a load onto a disk that is really full; it needs root, tmpfs and the embedded PostgreSQL',
  );

describe.runIf(canFill)('a disk that is full', () => {
  test('is named with a remedy, nothing of the batch stays, and with room the load goes on', async () => {
    const admin = createPool(database.adminUrl);
    cleanups.push(() => admin.end());
    const { rows: sessions } = await admin.query<{ pid: number }>('select pg_backend_pid() as pid');
    const directory = mountSmall(statSync(`/proc/${sessions[0]!.pid}`).uid, 3)!;
    cleanups.push(() => unmount(directory));
    const owner = new URL(database.url).username;
    await admin.query(`create tablespace strata_small location '${directory}'`);
    cleanups.push(() => admin.query('drop tablespace strata_small'));
    await admin.query(`grant create on tablespace strata_small to ${owner}`);
    await database.pool
      .query(`create table public.cramped (timestamp timestamptz, log_index bigint, address bytea, topics jsonb, data bytea,
      removed boolean, gas_price float8, fee numeric, note text, _block_num bigint, _batch_id bigint) tablespace strata_small`);
    const chain = createChain({ blocks: 60, accounts: 4, tokens: 2, logsPerBlock: 300 });
    const devnet = await startDevnet({ chain, microbatchBlocks: 2 });
    cleanups.push(devnet.stop);
    const request = {
      pool: database.pool,
      url: devnet.url,
      stream: 'cramped',
      settings: { ...LOGS, table: 'cramped', commit_rows: 500 },
    };
    const error = await failureOf(load(request));
    expect(error).toMatchObject({
      kind: 'database',
      detail: { stream: 'cramped', sqlstate: '53100', remedy: expect.stringMatching(/Free space/) as string },
    });
    expect(error.message).toMatch(/No space left on device/);
    const committed = (await ledgerOf(database.pool, 'cramped')).at(-1)?.end ?? -1;
    expect(committed).toBeGreaterThan(0);
    expectSame(await storedLogs(database.pool, 'public.cramped'), logsOf(chain, 0, committed));
    await database.pool.query('alter table public.cramped set tablespace pg_default');
    await load(request);
    expectSame(await storedLogs(database.pool, 'public.cramped'), logsOf(chain));
  });
});
