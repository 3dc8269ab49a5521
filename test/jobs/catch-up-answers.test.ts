/** Servers whose answer to a partition is not what it should be: nothing is done before the end, and nothing twice. */
import { afterEach, expect, test } from 'vitest';
import { useDatabase } from '../database.ts';
import { failureOf } from '../flight/collect.ts';
import { load } from './loading.ts';
import { ledgerOf, openTransactions } from './oracle.ts';
import { rangeOf, SCRIPTED_TRANSFERS, serveScript, transfersBatch } from './scripted-server.ts';
import type { ScriptedServer, Step } from './scripted-server.ts';

const database = useDatabase();

const servers: ScriptedServer[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) server.stop();
  expect(await openTransactions(database.pool)).toEqual([]);
});

let streams = 0;

/** Loads block 0, all there is, in one partition from a server that gives every batch query this answer. */
const loadFrom = async (answer: readonly Step[]): Promise<{ stream: string; rows: Promise<number> }> => {
  const server = await serveScript([], () => [], { answer: () => answer });
  servers.push(server);
  const stream = `answered_${(streams += 1)}`;
  const settings = { ...SCRIPTED_TRANSFERS, parallel: { workers: 2, partition_blocks: 10, reorg_buffer: 0 } };
  const rows = load({ pool: database.pool, url: server.url, stream, settings, to: 1 }).then(
    (result) => result.rows,
  );
  rows.catch(() => undefined);
  return { stream, rows };
};

const ranges = [rangeOf(0, 0)];
const data: Step = { batch: transfersBatch([{ block: 0 }]), ranges, complete: false };
const done: Step = { batch: transfersBatch([]), ranges, complete: true };

test('a whole answer, keep-alives in it', async () => {
  const keepAlive: Step = { batch: transfersBatch([]), ranges, complete: false };
  const { stream, rows } = await loadFrom([keepAlive, data, keepAlive, done]);
  expect(await rows).toBe(2);
  expect(await ledgerOf(database.pool, stream, 'scripted')).toMatchObject([{ start: 0, end: 0, rows: 2 }]);
});

test('a microbatch that comes again is loaded once', async () => {
  const { stream, rows } = await loadFrom([data, done, data, done]);
  expect(await rows).toBe(2);
  expect(await ledgerOf(database.pool, stream, 'scripted')).toHaveLength(1);
});

test.each<[string, readonly Step[], RegExp]>([
  ['that ends after its first message', [data], /inside a microbatch/],
  ['that is cut', [data, { fail: 'UNAVAILABLE' }], /.*/],
  [
    'of other networks',
    [data, done, { ...data, ranges: [rangeOf(0, 0), { ...rangeOf(0, 0), network: 'other' }] }],
    /other networks/,
  ],
])('an answer %s leaves nothing', async (_what, answer, message) => {
  const { stream, rows } = await loadFrom(answer);
  expect(await failureOf(rows)).toMatchObject({ message: expect.stringMatching(message) as string });
  expect(await ledgerOf(database.pool, stream, 'scripted')).toEqual([]);
});
