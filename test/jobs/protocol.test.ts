/** Loading from servers that repeat themselves, cut their answers, or speak of two networks: nothing twice, nothing half. */
import type { BlockRange } from '../../src/chain/range.ts';
import { describe, expect, test } from 'vitest';
import { useDatabase } from '../database.ts';
import { failureOf } from '../flight/collect.ts';
import { ledgerOf } from './oracle.ts';
import { blocks, useScripts } from './scripted-runs.ts';
import { hashOf, microbatch, rangeOf, transfersBatch } from './scripted-server.ts';
import type { Step } from './scripted-server.ts';

const database = useDatabase();
const { serve, run, newStream, ends, blocksOf } = useScripts(database);

describe('a server that repeats itself', () => {
  test('with the same microbatch again, rows and marker, changes nothing', async () => {
    const stream = newStream();
    const server = await serve([rangeOf(0, 5)], () => [
      ...blocks(0, 2),
      ...blocks(0, 2),
      ...blocks(3, 5),
      { wait: 'for ever' },
    ]);
    expect(await run(server, stream, { commit_rows: 1 })).toMatchObject({
      end: 'complete',
      rows: 12,
      reorgs: 0,
    });
    expect(await blocksOf(stream)).toEqual([0, 1, 2, 3, 4, 5]);
    expect(await ends(stream)).toEqual([
      [0, 2, 6],
      [3, 5, 6],
    ]);
  });

  test('from the beginning, deaf to where we are, changes nothing before what is new', async () => {
    const stream = newStream();
    await run(
      await serve([rangeOf(0, 5)], () => [...blocks(0, 2), ...blocks(3, 5), { wait: 'for ever' }]),
      stream,
    );
    const before = await ledgerOf(database.pool, stream, 'scripted');
    const deaf = await serve([rangeOf(0, 8)], () => [
      ...blocks(0, 2),
      ...blocks(3, 5),
      ...blocks(6, 8),
      { wait: 'for ever' },
    ]);
    expect(await run(deaf, stream)).toMatchObject({ end: 'complete', rows: 6, reorgs: 0, blocks: 3 });
    expect(deaf.asked).toContainEqual(
      expect.objectContaining({ stream: true, resume: { scripted: { number: 5, hash: hashOf(5) } } }),
    );
    expect(await blocksOf(stream)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8]);
    expect((await ledgerOf(database.pool, stream, 'scripted')).slice(0, 2)).toEqual(before);
  });

  test('cut otherwise than before, changes nothing: the hash of the last block stands for all before it', async () => {
    const stream = newStream();
    await run(
      await serve([rangeOf(0, 5)], () => [
        ...blocks(0, 0),
        ...blocks(1, 2),
        ...blocks(3, 5),
        { wait: 'for ever' },
      ]),
      stream,
    );
    const otherwise = await serve([rangeOf(0, 7)], () => [
      ...blocks(0, 5),
      ...blocks(6, 7),
      { wait: 'for ever' },
    ]);
    expect(await run(otherwise, stream)).toMatchObject({ end: 'complete', rows: 4, reorgs: 0 });
    expect(await ends(stream)).toEqual([
      [0, 0, 2],
      [1, 2, 4],
      [3, 5, 6],
      [6, 7, 4],
    ]);
  });
});

describe('a microbatch in parts', () => {
  test('is committed whole or not at all, even where earlier ones wait for their commit', async () => {
    const stream = newStream();
    const part = (first: number) =>
      transfersBatch(
        Array.from({ length: 40 }, (_, index) => ({
          block: 3,
          from: first + index,
          to: 100 + first + index,
        })),
      );
    const cut = await serve([rangeOf(0, 3)], () => [
      ...blocks(0, 0),
      ...blocks(1, 1),
      ...blocks(2, 2),
      ...[0, 40, 80].map((first): Step => ({ batch: part(first), ranges: [rangeOf(3, 3)] })),
      { fail: 'UNAVAILABLE' },
    ]);
    expect(await failureOf(run(cut, stream, { commit_rows: 10 }))).toMatchObject({ kind: 'connection' });
    const committed = (await ends(stream)).length;
    expect(await blocksOf(stream)).toEqual([0, 1, 2].slice(0, committed));
    const whole = await serve([rangeOf(0, 3)], () => [
      ...blocks(0, 0),
      ...blocks(1, 1),
      ...blocks(2, 2),
      ...microbatch([rangeOf(3, 3)], part(0), part(40), part(80)),
      { wait: 'for ever' },
    ]);
    await run(whole, stream, { commit_rows: 10 });
    expect(await blocksOf(stream)).toEqual([0, 1, 2, ...Array<number>(120).fill(3)]);
    expect((await ends(stream)).at(-1)).toEqual([3, 3, 240]);
  });

  test.each(['OK', 'UNAVAILABLE', 'INTERNAL'] as const)(
    'that is cut at a message boundary with %s leaves nothing of itself',
    async (ending) => {
      const stream = newStream();
      const server = await serve([rangeOf(0, 9)], () => [
        ...blocks(0, 4),
        { batch: transfersBatch([{ block: 5 }, { block: 6 }]), ranges: [rangeOf(5, 9)] },
        ...(ending === 'OK' ? [] : [{ fail: ending }]),
      ]);
      const error = await failureOf(run(server, stream));
      expect(error).toMatchObject({ kind: ending === 'OK' ? 'protocol' : 'connection', detail: { stream } });
      if (ending === 'OK') expect(error.message).toMatch(/ended the stream inside a microbatch/);
      expect(error.detail.remedy).toBeDefined();
      expect(await blocksOf(stream)).toEqual([0, 1, 2, 3, 4]);
      expect(await ends(stream)).toEqual([[0, 4, 10]]);
    },
  );
});

describe('a stream of two networks', () => {
  const pair = (start: number, end: number, far: number): BlockRange[] => [
    rangeOf(start, end, 'a', 'a', 'near'),
    rangeOf(far, far + 4, 'a', 'a', 'far'),
  ];
  const rows = (near: readonly number[], far: readonly number[]) =>
    transfersBatch([
      ...near.map((block) => ({ block, network: 'near', value: '7' })),
      ...far.map((block) => ({ block, network: 'far', value: '9' })),
    ]);
  const script = (): Step[] => [
    ...microbatch(pair(0, 9, 100), rows([0, 5], [100, 104])),
    ...microbatch(pair(10, 11, 105), rows([11], [105, 106, 109])),
    { wait: 'for ever' },
  ];

  test('keeps a ledger and a position for each, and tells their assets apart', async () => {
    const stream = newStream();
    const server = await serve(pair(0, 11, 105), script);
    expect(await run(server, stream, { network_column: 'network' })).toMatchObject({
      end: 'complete',
      rows: 16,
    });
    expect(await ends(stream, 'near')).toEqual([
      [0, 9, 4],
      [10, 11, 2],
    ]);
    expect(await ends(stream, 'far')).toEqual([
      [100, 104, 4],
      [105, 109, 6],
    ]);
    const { rows: sums } = await database.pool.query(
      `select a.network, count(*)::int as changes, sum(abs(c.delta))::text as moved
         from strata.balance_changes c join strata.assets a using (asset_id) join strata.sources s using (source_id)
        where s.stream = $1 and s.network = a.network group by 1 order by 1`,
      [stream],
    );
    expect(sums).toEqual([
      { network: 'far', changes: 10, moved: '90' },
      { network: 'near', changes: 6, moved: '42' },
    ]);
    expect((await run(server, stream, { network_column: 'network' })).end).toBe('nothing new');
  });

  test.each([
    ['no column that tells rows apart', {}, {}, /network_column/],
    ['a column that is not there', { network_column: 'chain' }, {}, /no column chain/],
    [
      'a span of blocks',
      { network_column: 'network' },
      { to: 5 },
      /span of blocks was given for a stream of 2 networks/,
    ],
  ])('is refused with %s', async (_, settings, span, says) => {
    const stream = newStream();
    const server = await serve(pair(0, 11, 105), script);
    const error = await failureOf(run(server, stream, settings, span));
    expect(error.message + error.detail.remedy).toMatch(says);
    expect(await blocksOf(stream)).toEqual([]);
  });
});
