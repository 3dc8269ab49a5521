/**
 * What loaders of this kind are known to get wrong, each at the wire: a server plays the situation, the tables are looked at.
 *
 * Here: the batch after a reorg is dropped · after a restart a reorg deletes nothing · blocks before a reorg in the middle
 * of a range are lost · a failed batch is skipped and the position moves past it · an overlap is added instead of replaced ·
 * text is stored with quotes around it, or loses its backslashes · whole numbers above 2^53 are rounded.
 *
 * Elsewhere: a replayed microbatch is loaded twice, and a part is taken for the whole (test/jobs/protocol.test.ts) · a gap
 * search is fooled by contained ranges and one-block gaps (test/state/contract.test.ts).
 */
import { Uint64, Utf8 } from 'apache-arrow';
import { describe, expect, test } from 'vitest';
import { REORG_BUFFER_BLOCKS } from '../../src/chain/ledger-tail.ts';
import { createChain } from '../../src/devnet/chain.ts';
import { startDevnet } from '../../src/devnet/server.ts';
import { useDatabase } from '../database.ts';
import { failureOf } from '../flight/collect.ts';
import { load, TRANSFERS } from '../jobs/loading.ts';
import { expectChain } from '../jobs/oracle.ts';
import { blocks, useScripts } from '../jobs/scripted-runs.ts';
import { batchOf, microbatch, rangeOf, transfersBatch, type Step } from '../jobs/scripted-server.ts';

const database = useDatabase();
const { serve, run, newStream, ends, blocksOf } = useScripts(database);

const upTo = (count: number): number[] => Array.from({ length: count }, (_unused, block) => block);
const WAIT: Step = { wait: 'for ever' };

describe('a reorg', () => {
  test('is followed by its own batch and the next one: neither is dropped', async () => {
    const stream = newStream();
    const server = await serve([rangeOf(0, 4, 'b')], () => [
      ...blocks(0, 1),
      ...blocks(2, 2),
      ...blocks(2, 3, 'b', 'a'),
      ...blocks(4, 4, 'b'),
      WAIT,
    ]);
    expect(await run(server, stream)).toMatchObject({ end: 'complete', reorgs: 1 });
    expect(await blocksOf(stream)).toEqual(upTo(5));
  });

  test('that is the first message after a restart deletes what it takes back', async () => {
    const stream = newStream();
    await run(await serve([rangeOf(0, 3)], () => [...blocks(0, 1), ...blocks(2, 3), WAIT]), stream);
    const restarted = await serve([rangeOf(0, 3, 'b')], () => [...blocks(2, 3, 'b', 'a'), WAIT]);
    expect(await run(restarted, stream)).toMatchObject({ end: 'complete', reorgs: 1, rows: 4 });
    expect(await blocksOf(stream)).toEqual(upTo(4));
  });

  test('in the middle of a range leaves the blocks before it, and their count', async () => {
    const stream = newStream();
    const server = await serve([rangeOf(0, 7, 'b')], () => [
      ...blocks(0, 6),
      ...blocks(4, 7, 'b', 'a'),
      WAIT,
    ]);
    await run(server, stream);
    expect(await blocksOf(stream)).toEqual(upTo(8));
    expect(await ends(stream)).toEqual([
      [0, 3, 8],
      [4, 7, 8],
    ]);
  });
});

describe('a batch that fails', () => {
  test('stops the stream there: the position stays before it, and the next run loads it', async () => {
    const stream = newStream();
    const script = (value: string) => () => [
      ...blocks(0, 1),
      ...microbatch([rangeOf(2, 2)], transfersBatch([{ block: 2, value }])),
      ...blocks(3, 4),
      WAIT,
    ];
    const error = await failureOf(
      run(await serve([rangeOf(0, 4)], script('no number')), stream, { commit_rows: 1 }),
    );
    expect(error).toMatchObject({ kind: 'data', detail: { block: 2 } });
    expect(upTo(2)).toEqual(expect.arrayContaining([...(await blocksOf(stream))]));
    await run(await serve([rangeOf(0, 4)], script('5')), stream);
    expect(await blocksOf(stream)).toEqual(upTo(5));
  });
});

describe('blocks that are read again', () => {
  test('because nothing proves them replace what was there: a thousand blocks stay a thousand', async () => {
    const chain = createChain({
      blocks: 1200,
      transfersPerBlock: 1,
      accounts: 9,
      tokens: 1,
      blockSeconds: 900,
    });
    const devnet = await startDevnet({ chain, microbatchBlocks: 700 });
    try {
      const stream = newStream();
      const request = { pool: database.pool, url: devnet.url, stream, settings: TRANSFERS };
      expect((await load({ ...request, to: 1000 })).blocks).toBe(1000);
      expect(await load(request)).toMatchObject({ blocks: REORG_BUFFER_BLOCKS + 200, reorgs: 0 });
      await expectChain(database.pool, stream, chain);
    } finally {
      await devnet.stop();
    }
  });
});

describe('values', () => {
  const TEXTS = ['"quoted"', 'back\\slash', '\\N', 'tab\tnew\nline', "it's, {a}", '', '\u{1f600}'];
  const NUMBERS = TEXTS.map((_text, index) => 2n ** 53n + BigInt(2 * index + 1));

  test('text keeps quotes and backslashes, whole numbers their last digit', async () => {
    const batch = batchOf({
      _block_num: { type: new Uint64(), values: TEXTS.map(() => 0n) },
      text: { type: new Utf8(), values: TEXTS },
      large: { type: new Uint64(), values: NUMBERS },
    });
    const server = await serve([rangeOf(0, 0)], () => [...microbatch([rangeOf(0, 0)], batch), WAIT]);
    const settings = { load: 'rows', query: 'SELECT whatever the script says', table: 'as_they_are' };
    await load({ pool: database.pool, url: server.url, stream: newStream(), settings });
    const { rows } = await database.pool.query<{ text: string; large: string }>(
      'select text, large::text from public.as_they_are order by large',
    );
    expect(rows.map(({ text }) => text)).toEqual(TEXTS);
    expect(rows.map(({ large }) => large)).toEqual(NUMBERS.map(String));
  });
});
