/** Streams that nobody watches: what passes is waited for, what does not stops that stream alone, and status tells which. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { createChain } from '../../src/devnet/chain.ts';
import type { SimulatedChain } from '../../src/devnet/chain.ts';
import { startDevnet } from '../../src/devnet/server.ts';
import type { Devnet, DevnetOptions } from '../../src/devnet/server.ts';
import { createHealthLog } from '../../src/jobs/health.ts';
import { flightOptions } from '../../src/jobs/servers.ts';
import { readStatus } from '../../src/warehouse/status.ts';
import { useDatabase } from '../database.ts';
import { until } from '../db/until.ts';
import { failureOf } from '../flight/collect.ts';
import { policyOf, TRANSFERS } from './loading.ts';
import { expectChain, ledgerOf, openTransactions } from './oracle.ts';
import { fastClock, supervise } from './supervised.ts';
import { microbatch, rangeOf, SCRIPTED_TRANSFERS, serveScript, transfersBatch } from './scripted-server.ts';
import { blocks } from './scripted-runs.ts';

const database = useDatabase();

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
  expect(await openTransactions(database.pool)).toEqual([]);
});

const newChain = (seed = 1): SimulatedChain =>
  createChain({ seed, accounts: 10, tokens: 2, transfersPerBlock: 4, blocks: 12, blockSeconds: 5_000 });

const serve = async (options: Partial<DevnetOptions> = {}): Promise<Devnet<SimulatedChain>> => {
  const devnet = await startDevnet({ microbatchBlocks: 3, ...options, chain: newChain() });
  cleanups.push(devnet.stop);
  return devnet;
};

describe('a followed stream', () => {
  test('comes back when its server restarts, from the last commit', async () => {
    const chain = newChain();
    const first = await startDevnet({ chain, microbatchBlocks: 3 });
    const { port } = first;
    const live = supervise({
      url: database.url,
      server: first.url,
      stream: 'restarted',
      settings: TRANSFERS,
    });
    cleanups.push(live.end);
    await until('the first blocks', () => live.committed() === 11);
    await first.stop();
    // Long enough for the breaker to open.
    await until('the breaker to open', () => live.events.some((event) => event.kind === 'breaker'));
    chain.reorg(5, 2);
    chain.advance(6);
    const second = await startDevnet({ chain, microbatchBlocks: 3, port });
    cleanups.push(second.stop);
    await until('the new head', () => live.committed() === chain.view().head);
    expect(live.events.filter((event) => event.kind === 'breaker').map(({ state }) => state)).toEqual(
      expect.arrayContaining(['open', 'half-open', 'closed']),
    );
    expect(await live.stop()).toMatchObject({ end: 'stopped', reorgs: 1 });
    await expectChain(database.pool, 'restarted', chain);
  });

  test('counts its tries anew when it has got on', async () => {
    const devnet = await serve();
    const live = supervise({
      url: database.url,
      server: devnet.url,
      stream: 'flapping',
      settings: TRANSFERS,
    });
    cleanups.push(live.end);
    for (let head = 12; head < 20; head += 1) {
      await until(`block ${head - 1}`, () => live.committed() === head - 1);
      devnet.disconnect();
      devnet.chain.advance(1);
    }
    await until('the last block', () => live.committed() === 19);
    const counts = live.events.flatMap((event) => (event.kind === 'retry' ? [event.failures] : []));
    expect(counts.length).toBeGreaterThanOrEqual(8);
    expect(Math.max(...counts)).toBeLessThanOrEqual(2);
    expect(live.events.some((event) => event.kind === 'breaker')).toBe(false);
    await live.stop();
    await expectChain(database.pool, 'flapping', devnet.chain);
  });

  test('waits where nothing is synced yet', async () => {
    let synced = false;
    const nothing = [{ batch: transfersBatch([]), ranges: [], complete: true }];
    const server = await serveScript([], () =>
      synced ? [...blocks(0, 3), { wait: 'for ever' as const }] : nothing,
    );
    cleanups.push(server.stop);
    const live = supervise({
      url: database.url,
      server: server.url,
      stream: 'early',
      settings: SCRIPTED_TRANSFERS,
    });
    cleanups.push(live.end);
    await until('it to ask again', () => server.asked.filter(({ stream }) => stream).length > 2);
    expect(await ledgerOf(database.pool, 'early', 'scripted')).toEqual([]);
    synced = true;
    await until('the blocks', () => live.committed() === 3);
    expect(live.retries()).toBe(0);
    await live.stop();
  });

  test('starts anew each hour, so that the present never becomes the future it quarantines', async () => {
    const now = Math.floor(Date.now() / 1000);
    const hour = Promise.withResolvers<void>();
    const clock = fastClock();
    let first = true;
    const sleep: typeof clock.sleep = (delay_ms, signal) => {
      if (delay_ms !== 3_600_000 || !first) return clock.sleep(delay_ms, signal);
      first = false;
      return hour.promise;
    };
    const server = await serveScript([rangeOf(0, 1)], ({ resume }) => {
      const block = (resume?.['scripted']?.number ?? -1) + 1;
      // Each try sees a block of its own end: the second one, of the end of the second hour.
      const time = now + 3600 * (block + 1) - 60;
      return block > 1
        ? [{ wait: 'for ever' as const }]
        : [
            ...microbatch([rangeOf(block, block)], transfersBatch([{ block, time }])),
            { wait: 'for ever' as const },
          ];
    });
    cleanups.push(server.stop);
    await database.pool.query(`update strata.partition_sets set window_ahead = '0'`);
    cleanups.push(() => database.pool.query(`update strata.partition_sets set window_ahead = default`));
    let hours = 0;
    const live = supervise({
      url: database.url,
      server: server.url,
      stream: 'hourly',
      settings: SCRIPTED_TRANSFERS,
      clock: { ...clock, sleep, now: () => now * 1000 + hours * 3_600_000 },
    });
    cleanups.push(live.end);
    await until('the first block', () => live.committed() === 0);
    hours = 1;
    hour.resolve();
    await until('the second block', () => live.committed() === 1);
    expect(live.retries()).toBe(0);
    expect(await live.stop()).toMatchObject({ end: 'stopped', quarantined: 0, batches: 2 });
  });

  test('slows down for a server that is overloaded', async () => {
    let busy = 3;
    const server = await serveScript([rangeOf(0, 1)], () =>
      busy-- > 0
        ? [{ fail: 'RESOURCE_EXHAUSTED' as const }]
        : [...blocks(0, 1), { wait: 'for ever' as const }],
    );
    cleanups.push(server.stop);
    const live = supervise({
      url: database.url,
      server: server.url,
      stream: 'slowed',
      settings: SCRIPTED_TRANSFERS,
    });
    cleanups.push(live.end);
    await until('the blocks', () => live.committed() === 1);
    expect(live.events.flatMap((event) => (event.kind === 'slower' ? [event.delay_ms] : []))).toEqual([
      1000, 3000, 5000,
    ]);
    await live.stop();
  });

  test('takes the token that a file holds now', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'pgstrata-token-'));
    cleanups.push(() => rm(folder, { recursive: true }));
    const token_file = join(folder, 'token');
    await writeFile(token_file, 'old\n');
    const before = await serve({ token: 'old' });
    const settings = policyOf(before.url, {}, { token_file }).servers['devnet']!;
    const live = supervise({
      url: database.url,
      server: before.url,
      stream: 'renewed',
      settings: TRANSFERS,
      flight: { token: (await flightOptions(settings)).token },
      renewsToken: true,
    });
    cleanups.push(live.end);
    await until('the first blocks', () => live.committed() === 11);
    await before.stop();
    await writeFile(token_file, 'new\n');
    const after = await startDevnet({ chain: before.chain, port: before.port, token: 'new' });
    cleanups.push(after.stop);
    before.chain.advance(2);
    await until('the next blocks', () => live.committed() === 13);
    // And one that stays wrong is reported, not tried for ever.
    await after.stop();
    const last = await startDevnet({ chain: before.chain, port: before.port, token: 'another' });
    cleanups.push(last.stop);
    expect(await failureOf(live.result)).toMatchObject({
      kind: 'auth',
      detail: { grpcStatus: 'UNAUTHENTICATED', stream: 'renewed' },
    });
  });
});

describe('a permanent error', () => {
  test('stops its stream alone, keeps its position, and status tells', async () => {
    const devnet = await serve();
    const begun = Promise.withResolvers<void>();
    const bad = await serveScript([rangeOf(0, 3)], () => [
      ...blocks(0, 1),
      { wait: begun.promise },
      { batch: transfersBatch([{ block: 2, value: 'no number' }]), ranges: [rangeOf(2, 2)] },
      { wait: 'for ever' as const },
    ]);
    cleanups.push(bad.stop);
    const health = createHealthLog(
      () => ({ url: database.url, options: {} }),
      fastClock(),
      (text) => text.replaceAll('no number', '***'),
    );
    const sound = supervise({
      url: database.url,
      server: devnet.url,
      stream: 'sound',
      settings: TRANSFERS,
      health,
    });
    cleanups.push(sound.end);
    const broken = supervise({
      url: database.url,
      server: bad.url,
      stream: 'broken',
      settings: { ...SCRIPTED_TRANSFERS, commit_rows: 1 },
      health,
    });
    await until('the first microbatch of the broken one', () => broken.committed() === 1);
    begun.resolve();
    const error = await failureOf(broken.result);
    expect(error).toMatchObject({ kind: 'data', detail: { stream: 'broken', block: 2 } });
    expect(broken.retries()).toBe(0);
    devnet.chain.advance(2);
    await until('the sound one to go on', () => sound.committed() === 13);
    await until('status to say both', async () => {
      const { streams } = await readStatus(database.pool);
      const of = (name: string) => streams.find(({ stream }) => stream === name);
      return (
        of('broken')?.state === 'stopped' && of('sound')?.state === 'running' && of('sound')?.head === 13
      );
    });
    const { streams } = await readStatus(database.pool);
    expect(streams.find(({ stream }) => stream === 'broken')).toMatchObject({
      position: 1,
      state: 'stopped',
      last_error: { kind: 'data', message: expect.not.stringContaining('no number') as string },
    });
    expect(streams.find(({ stream }) => stream === 'sound')).toMatchObject({
      position: 13,
      lag_blocks: 0,
      gaps: 0,
      failures: 0,
      breaker: 'closed',
      last_error: null,
    });
    await sound.stop();
    await health.close();
    const after = await readStatus(database.pool);
    expect(after.streams.find(({ stream }) => stream === 'sound')).toMatchObject({
      state: 'stopped',
      last_error: null,
    });
  });
});

describe('a load that is not followed', () => {
  test('tries again what passes, and ends', async () => {
    const devnet = await serve();
    for (const afterMessages of [0, 2, 4]) devnet.failNext({ afterMessages });
    const run = supervise({
      url: database.url,
      server: devnet.url,
      stream: 'batch',
      settings: { ...TRANSFERS, commit_rows: 1 },
      follow: false,
    });
    expect(await run.result).toMatchObject({ end: 'complete', blocks: 12 });
    expect(run.retries()).toBeGreaterThan(0);
    await expectChain(database.pool, 'batch', devnet.chain);
  });

  test('gives up after five tries', async () => {
    const run = supervise({
      url: database.url,
      server: 'grpc://127.0.0.1:1',
      stream: 'unreachable',
      settings: TRANSFERS,
      follow: false,
    });
    expect(await failureOf(run.result)).toMatchObject({ detail: { grpcStatus: 'UNAVAILABLE' } });
    expect(run.retries()).toBe(4);
  });
});
