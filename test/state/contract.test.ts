/** One contract for every ledger: in PostgreSQL, in memory, and the one that remembers nothing. */
import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { batchId, batchIdText } from '../../src/chain/batch-id.ts';
import { LEDGER_HORIZON } from '../../src/chain/ledger-tail.ts';
import type { BlockRange } from '../../src/chain/range.ts';
import type { BlockWindow } from '../../src/chain/window.ts';
import { memoryStore } from '../../src/warehouse/state/memory.ts';
import { nullStore } from '../../src/warehouse/state/null.ts';
import { postgresStore } from '../../src/warehouse/state/postgres.ts';
import type { LedgerEntry, StateStore } from '../../src/warehouse/state/store.ts';
import { claimStream } from '../../src/warehouse/stream-state.ts';
import { useDatabase } from '../database.ts';
import { failureOf } from '../flight/collect.ts';
import { propertyOptions } from '../seed.ts';

const database = useDatabase();
let streams = 0;

/** A ledger of one stream, and the same ledger as the next process opens it. */
interface Opened {
  readonly store: StateStore;
  readonly reopen: () => StateStore;
}

const openPostgres = async (): Promise<Opened> => {
  const stream = `contract_${(streams += 1)}`;
  const definition = { stream, load: 'rows', target: 'public.t', grain: 'hour', definition: {} } as const;
  await claimStream(database.pool, definition);
  const reopen = (): StateStore => postgresStore(database.pool, stream);
  return { store: reopen(), reopen };
};

const STORES: Readonly<Record<string, () => Promise<Opened>>> = {
  postgres: openPostgres,
  memory: async () => {
    const store = memoryStore();
    return { store, reopen: () => store };
  },
};

const range = (start: number, end: number, fork = 'a', network = 'net'): BlockRange => ({
  network,
  start,
  end,
  hash: `0x${fork}${end}`,
  prevHash: `0x${fork}${start - 1}`,
  timestamp: 1_700_000_000 + end,
});
const entry = (committed: BlockRange, rows = 10): LedgerEntry => ({
  range: committed,
  count: { rows, quarantined: 0, minTime: committed.start * 1_000_000, maxTime: committed.end * 1_000_000 },
});
const mark = (store: StateStore, ...ranges: BlockRange[]): Promise<void> =>
  store.markProcessed(ranges.map((committed) => entry(committed)));
const fork = (from: number, network = 'net', to: number | null = null) => ({
  network,
  from,
  to,
});
const position = async (store: StateStore, detectGaps: boolean) =>
  (await store.resumePosition(detectGaps)).map(({ network, number, hash }) => `${network} ${number} ${hash}`);
const spans = (gaps: readonly BlockWindow[]): string =>
  gaps.map(({ from, to }) => `${from}–${to ?? ''}`).join(' ');
const ALL: BlockWindow = { from: 0, to: null };

test('the identity of a range is SHA-256 over network:start:end:hash:parent, first 16 hex digits', () => {
  const text = createHash('sha256').update('net:10:19:0xa19:0xa9').digest('hex').slice(0, 16);
  expect(batchIdText(batchId(range(10, 19)))).toBe(text);
  const others = [range(10, 18), range(11, 19), range(10, 19, 'b'), range(10, 19, 'a', 'other')];
  expect(new Set([range(10, 19), ...others].map(batchId)).size).toBe(5);
  for (let start = 0; start < 300; start += 1)
    expect(batchIdText(batchId(range(start, start)))).toMatch(/^[0-9a-f]{16}$/);
});

describe.each(Object.entries(STORES))('%s: a ledger', (_, open) => {
  test('knows exactly the ranges it was told, by their identity', async () => {
    const { store } = await open();
    expect(await store.isProcessed(range(0, 9))).toBe(false);
    await mark(store, range(0, 9), range(10, 19));
    expect(await store.isProcessed(range(10, 19))).toBe(true);
    for (const other of [range(10, 18), range(0, 19), range(10, 19, 'b'), range(10, 19, 'a', 'other')])
      expect(await store.isProcessed(other)).toBe(false);
    expect(await store.isProcessed({ ...range(10, 19), prevHash: null })).toBe(false);
  });

  test('takes no two ranges that start at the same block, and nothing beside a refused one', async () => {
    const { store } = await open();
    await mark(store, range(0, 9));
    const error = await failureOf(mark(store, range(10, 19), range(0, 4)));
    expect(error).toMatchObject({ kind: 'conflict', detail: { network: 'net' } });
    expect(await store.isProcessed(range(10, 19))).toBe(false);
  });

  test('is the same when it is opened again', async () => {
    const { store, reopen } = await open();
    await mark(store, range(0, 9), range(10, 14), { ...range(15, 19), hash: '' }, range(5, 6, 'a', 'other'));
    const again = reopen();
    expect(await again.isProcessed(range(10, 14))).toBe(true);
    expect(await again.tails()).toEqual(
      new Map([
        ['net', [range(0, 9), range(10, 14), { ...range(15, 19), hash: '' }]],
        ['other', [range(5, 6, 'a', 'other')]],
      ]),
    );
    expect(await position(again, true)).toEqual(['net 14 0xa14', 'other 6 0xa6']);
  });

  test('says where each network goes on: behind the newest known hash, or before the first hole', async () => {
    const { store } = await open();
    expect(await position(store, false)).toEqual([]);
    await mark(store, range(5, 9), range(20, 29), { ...range(30, 34), hash: '' }, range(3, 4, 'a', 'other'));
    expect(await position(store, false)).toEqual(['net 29 0xa29', 'other 4 0xa4']);
    expect(await position(store, true)).toEqual(['net 9 0xa9', 'other 4 0xa4']);
    await mark(store, range(10, 19));
    expect(await position(store, true)).toEqual(['net 29 0xa29', 'other 4 0xa4']);
  });

  test('does not go on behind a range that lies inside another one', async () => {
    const { store } = await open();
    await mark(store, range(0, 99), range(10, 20));
    expect(await position(store, false)).toEqual(['net 99 0xa99']);
    expect(await position(store, true)).toEqual(['net 99 0xa99']);
  });

  test.each<[string, readonly (readonly [number, number])[], string]>([
    ['none at all', [], '0–'],
    ['one before the first range', [[5, 9]], '0–5 10–'],
    [
      'one of a single block',
      [
        [0, 9],
        [11, 19],
      ],
      '10–11 20–',
    ],
    [
      'none beside a range inside another',
      [
        [0, 99],
        [10, 20],
        [100, 109],
      ],
      '110–',
    ],
    [
      'one behind a range inside another',
      [
        [0, 99],
        [10, 20],
        [120, 129],
      ],
      '100–120 130–',
    ],
    [
      'none where sizes overlap',
      [
        [0, 9],
        [5, 14],
        [8, 29],
        [30, 30],
      ],
      '31–',
    ],
    [
      'several',
      [
        [10, 19],
        [30, 39],
        [45, 45],
      ],
      '0–10 20–30 40–45 46–',
    ],
  ])('sees gaps: %s', async (_name, ranges, expected) => {
    const { store } = await open();
    await mark(store, ...ranges.map(([start, end]) => range(start, end)));
    await mark(store, range(0, 1000, 'a', 'other'));
    expect(spans(await store.gaps('net', ALL))).toBe(expected);
  });

  test('cuts gaps to the window', async () => {
    const { store } = await open();
    await mark(store, range(10, 19), range(30, 39));
    const gaps = async (from: number | null, to: number | null) =>
      spans(await store.gaps('net', { from, to }));
    expect(await gaps(12, 18)).toBe('');
    expect(await gaps(15, 35)).toBe('20–30');
    expect(await gaps(5, 25)).toBe('5–10 20–25');
    expect(await gaps(null, 40)).toBe('0–10 20–30');
    expect(await gaps(39, 41)).toBe('40–41');
    expect(await gaps(50, 60)).toBe('50–60');
  });

  test('sees the gaps that a list of blocks sees, whatever ranges it holds', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.uniqueArray(
          fc.record({ start: fc.integer({ min: 0, max: 40 }), size: fc.integer({ min: 1, max: 15 }) }),
          { selector: ({ start }) => start, maxLength: 12 },
        ),
        fc.integer({ min: 0, max: 45 }),
        fc.option(fc.integer({ min: 1, max: 20 }), { nil: null }),
        async (ranges, from, size) => {
          const { store } = await open();
          await mark(store, ...ranges.map((one) => range(one.start, one.start + one.size - 1)));
          const to = size === null ? null : from + size;
          const missing = Array.from({ length: (to ?? 70) - from }, (_unused, index) => from + index).filter(
            (block) => !ranges.some((one) => one.start <= block && block < one.start + one.size),
          );
          const found = (await store.gaps('net', { from, to })).flatMap((gap) =>
            Array.from({ length: (gap.to ?? 70) - gap.from! }, (_unused, index) => gap.from! + index),
          );
          expect(found).toEqual(missing);
        },
      ),
      propertyOptions(40),
    );
  });

  test('forgets one network from a block on; a range cut in two is no longer the range it was', async () => {
    const { store } = await open();
    await mark(store, range(0, 9), range(10, 19), range(20, 29), range(10, 19, 'a', 'other'));
    expect(await store.invalidSpan(fork(30))).toBeNull();
    expect(await store.invalidSpan(fork(20))).toMatchObject({ from: 20, to: null, cutEnd: null });
    expect(await store.invalidSpan(fork(15))).toEqual({
      from: 15,
      to: null,
      cutEnd: 19,
      minTime: new Date('2000-01-01T00:00:10Z'),
    });
    await store.invalidate(fork(15), 4);
    expect((await store.tails()).get('net')).toEqual([
      range(0, 9),
      { ...range(10, 14), hash: '', timestamp: null },
    ]);
    expect(await store.isProcessed(range(10, 19))).toBe(false);
    expect(await store.isProcessed(range(20, 29))).toBe(false);
    expect(await store.isProcessed(range(10, 19, 'a', 'other'))).toBe(true);
    expect(spans(await store.gaps('net', ALL))).toBe('15–');
    await mark(store, range(15, 19, 'b'));
    expect(await position(store, true)).toEqual(['net 19 0xb19', 'other 19 0xa19']);
    // The same blocks once more, as after a fork that was given up: they are committed like any others.
    await store.invalidate(fork(10));
    await mark(store, range(10, 19));
    expect(await store.isProcessed(range(10, 19))).toBe(true);
  });

  test('forgets blocks up to the end of a range and keeps those behind', async () => {
    const { store } = await open();
    await mark(store, range(0, 9), range(10, 19), range(40, 49));
    expect(await store.invalidSpan(fork(5, 'net', 19))).toMatchObject({ from: 5, to: 19, cutEnd: 9 });
    await store.invalidate(fork(5, 'net', 19));
    expect(spans(await store.gaps('net', ALL))).toBe('5–40 50–');
    expect(await store.isProcessed(range(40, 49))).toBe(true);
  });

  test('gives the newest ranges, or those around a block', async () => {
    const { store } = await open();
    await mark(store, range(0, 9), range(20, 29), range(40, 49), range(50, 59));
    const around = async (before: number) =>
      (await store.tails(before)).get('net')?.map(({ start }) => start);
    expect(await around(10)).toEqual([0, 20]);
    expect(await around(40)).toEqual([0, 20, 40]);
    expect(await around(1000)).toEqual([0, 20, 40, 50]);
    expect(await around(0)).toEqual([0]);
  });

  test('is cleaned up without a hole: neighbours become one, the newest stay as they are', async () => {
    const { store } = await open();
    const old = [range(0, 4), range(5, 9), range(10, 14), range(20, 24), range(25, 29)];
    const young = [range(30, 34), range(35, 39)];
    await mark(store, ...old, ...young);
    const gaps = spans(await store.gaps('net', ALL));
    expect(await store.cleanup('net', 1000)).toBe(0); // fewer than a reorg may reach
    expect(await store.cleanup('net', 12, 2)).toBe(1);
    expect(await store.cleanup('net', 1000, 2)).toBe(2);
    expect(await store.cleanup('net', 1000, 2)).toBe(0);
    expect(spans(await store.gaps('net', ALL))).toBe(gaps);
    expect((await store.tails()).get('net')).toEqual([
      { ...range(10, 14), start: 0, prevHash: '0xa-1' },
      { ...range(25, 29), start: 20, prevHash: '0xa19' },
      ...young,
    ]);
    expect(await position(store, true)).toEqual(['net 14 0xa14']);
    expect(await store.isProcessed(range(0, 4))).toBe(false);
    expect(await store.isProcessed(range(35, 39))).toBe(true);
  });

  test('keeps what a reorg may reach in memory to its horizon', async () => {
    const { store } = await open();
    await mark(
      store,
      ...Array.from({ length: LEDGER_HORIZON + 10 }, (_unused, block) => range(block, block)),
    );
    expect((await store.tails()).get('net')).toHaveLength(LEDGER_HORIZON);
    expect((await store.tails()).get('net')?.[0]).toEqual(range(10, 10));
    expect(await store.cleanup('net', 1_000_000)).toBe(9);
    expect(spans(await store.gaps('net', ALL))).toBe(`${LEDGER_HORIZON + 10}–`);
  });
});

describe('null: a ledger', () => {
  test('takes everything, and remembers nothing', async () => {
    const store = nullStore();
    await mark(store, range(0, 9), range(0, 9));
    await store.invalidate(fork(5));
    expect(await store.isProcessed(range(0, 9))).toBe(false);
    expect(await store.resumePosition(true)).toEqual([]);
    expect(await store.tails()).toEqual(new Map());
    expect(await store.invalidSpan(fork(5))).toBeNull();
    expect(await store.cleanup('net', 1000)).toBe(0);
    expect(spans(await store.gaps('net', ALL))).toBe('0–');
    expect(spans(await store.gaps('net', { from: 5, to: 9 }))).toBe('5–9');
  });
});
