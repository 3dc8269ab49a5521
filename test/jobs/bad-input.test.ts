/** Loading what cannot be loaded: the error names the cause and a remedy, and nothing of the microbatch stays. */
import { Float64, Int64 } from 'apache-arrow';
import { describe, expect, test } from 'vitest';
import { useDatabase } from '../database.ts';
import { failureOf } from '../flight/collect.ts';
import { fingerprint, ledgerOf, unbalancedAssets } from './oracle.ts';
import { blocks, useScripts } from './scripted-runs.ts';
import { batchOf, hashOf, microbatch, rangeOf, transfersBatch } from './scripted-server.ts';
import type { Step } from './scripted-server.ts';

const database = useDatabase();
const { serve, run, newStream, blocksOf } = useScripts(database);

/** What a server may not do behind blocks 0..4; what the error says, and its kind. */
const FAULTS: readonly (readonly [name: string, steps: () => Step[], says: RegExp, kind: string])[] = [
  ['ranges that jump', () => blocks(6, 9), /6–9 leaves a gap: block 4 is the last one loaded/, 'protocol'],
  ['ranges on another parent', () => blocks(5, 9, 'b'), /does not follow block 4/, 'protocol'],
  [
    'ranges that overlap and say the head is their parent',
    () => microbatch([{ ...rangeOf(3, 9), prevHash: hashOf(4) }]),
    /goes back behind block 4/,
    'protocol',
  ],
  [
    'ranges that change inside a microbatch',
    () => [{ batch: transfersBatch([{ block: 5 }]), ranges: [rangeOf(5, 9)] }, ...blocks(5, 8)],
    /changes its ranges/,
    'protocol',
  ],
  [
    'ranges that end before they start',
    () => [
      {
        batch: transfersBatch([]),
        metadata: Buffer.from(
          `{"ranges":[{"numbers":{"start":9,"end":5},"network":"scripted","hash":"${hashOf(5)}"}],"ranges_complete":true}`,
        ),
      },
    ],
    /ends at 5, before its start 9/,
    'protocol',
  ],
  [
    'metadata that is not JSON',
    () => [{ batch: transfersBatch([{ block: 5 }]), metadata: Buffer.from('not JSON') }],
    /metadata: it is not JSON/,
    'protocol',
  ],
  [
    'rows without metadata',
    () => [{ batch: transfersBatch([{ block: 5 }]) }],
    /sends rows without block ranges/,
    'protocol',
  ],
  [
    'no ranges in the middle',
    () => [
      { batch: transfersBatch([{ block: 5 }]), ranges: [rangeOf(5, 9)] },
      { batch: transfersBatch([]), ranges: [], complete: true },
    ],
    /without block ranges inside a microbatch/,
    'protocol',
  ],
  [
    'rows of blocks outside their range',
    () => microbatch([rangeOf(5, 9)], transfersBatch([{ block: 5 }, { block: 10 }])),
    /a row of block 10 came with the range 5–9/,
    'protocol',
  ],
  [
    'a schema that changes',
    () =>
      microbatch(
        [rangeOf(5, 9)],
        transfersBatch([{ block: 5 }]),
        transfersBatch([{ block: 6 }], { more: { type: new Int64(), values: [1n] } }),
      ),
    /schema changed mid-stream at column .more/,
    'protocol',
  ],
  [
    'a null amount',
    () => microbatch([rangeOf(5, 9)], transfersBatch([{ block: 5 }, { block: 6, value: null }])),
    /column value is null/,
    'data',
  ],
  [
    'a null time',
    () => microbatch([rangeOf(5, 9)], transfersBatch([{ block: 5, time: null }])),
    /column timestamp is null/,
    'data',
  ],
  [
    'an amount that is no number',
    () => microbatch([rangeOf(5, 9)], transfersBatch([{ block: 5 }, { block: 6, value: 'much' }])),
    /much/,
    'data',
  ],
  [
    'an amount with a fraction too long',
    () => microbatch([rangeOf(5, 9)], transfersBatch([{ block: 5, value: `0.${'1'.repeat(20_000)}` }])),
    /./,
    'data',
  ],
];

describe('what a server may not do', () => {
  test.each(FAULTS)(
    '%s: the error says so, and nothing of the microbatch stays',
    async (_, steps, says, kind) => {
      const stream = newStream();
      await run(await serve([rangeOf(0, 4)], () => [...blocks(0, 4), { wait: 'for ever' }]), stream);
      const before = await fingerprint(database.pool);
      const server = await serve([rangeOf(0, 9)], () => [...steps(), { wait: 'for ever' }]);
      const error = await failureOf(run(server, stream));
      const text = error.message + JSON.stringify(error.detail);
      expect(text).toMatch(says);
      expect(error).toMatchObject({ kind, detail: { stream } });
      expect(error.detail.remedy ?? '').not.toBe('');
      expect(await fingerprint(database.pool)).toEqual(before);
      // Nothing is stuck: once the server behaves, loading goes on.
      await run(await serve([rangeOf(0, 9)], () => [...blocks(5, 9), { wait: 'for ever' }]), stream);
      expect(await blocksOf(stream)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    },
  );

  test('a value that cannot be stored, while earlier microbatches wait for their commit, takes none of its neighbours along', async () => {
    const stream = newStream();
    const wrong = [...Array.from({ length: 50 }, () => ({ block: 4 })), { block: 4, value: 'much' }];
    const server = await serve([rangeOf(0, 4)], () => [
      ...[0, 1, 2, 3].flatMap((block) => blocks(block, block)),
      ...microbatch([rangeOf(4, 4)], transfersBatch(wrong)),
    ]);
    expect(await failureOf(run(server, stream))).toMatchObject({
      kind: 'data',
      detail: { stream, network: 'scripted', block: 4, row: 50, column: 'value' },
    });
    expect((await blocksOf(stream)).filter((block) => block === 4)).toEqual([]);
    expect(await unbalancedAssets(database.pool)).toBe(0);
    expect((await ledgerOf(database.pool, stream, 'scripted')).map(({ end }) => end)).toEqual(
      await blocksOf(stream),
    );
  });
});

describe('a mapping that does not fit', () => {
  const odd = (): Step[] =>
    microbatch(
      [rangeOf(0, 0)],
      batchOf({
        _block_num: { type: new Float64(), values: [0] },
        n: { type: new Int64(), values: [1n] },
      }),
    );

  test('names every column that is missing, before anything is loaded', async () => {
    const stream = newStream();
    const error = await failureOf(
      run(await serve([rangeOf(0, 0)], odd), stream, { rules: ['buyer:+price'] }),
    );
    expect(error).toMatchObject({
      kind: 'config',
      message: expect.stringMatching(/no column timestamp, token, buyer, price/) as string,
    });
    expect(error.detail.remedy).toMatch(/_block_num, n/);
  });

  test.each([
    ['time', { time: 'value' }, /Utf8 cannot be read as/],
    ['amount', { rules: ['to:+timestamp'] }, /cannot be read as/],
    ['ordinal', { ordinal: 'value' }, /cannot be read as/],
    ['account', { rules: ['_block_num:+value'] }, /cannot be read as/],
  ])('in type says which: %s', async (_, settings, says) => {
    const stream = newStream();
    const error = await failureOf(run(await serve([rangeOf(0, 0)], () => blocks(0, 0)), stream, settings));
    expect(error.message).toMatch(says);
    expect(error.detail.column).toBeDefined();
    expect(error.detail.remedy).toBeDefined();
    expect(await blocksOf(stream)).toEqual([]);
  });
});
