/** What the ledger does not have, whatever ranges are in it; and which ranges may be committed beside them. */
import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import type { BlockRange } from '../../src/chain/range.ts';
import { withTransaction } from '../../src/db/pool.ts';
import { ledgerEnds, ledgerHoles, requireNeighbours } from '../../src/warehouse/ledger-holes.ts';
import { sourceOf } from '../../src/warehouse/stream-state.ts';
import { useDatabase } from '../database.ts';
import { failureOf } from '../flight/collect.ts';
import { propertyOptions } from '../seed.ts';

const database = useDatabase();
let source: number;

beforeAll(async () => {
  await database.pool.query(
    `insert into strata.streams (stream, load, target, grain, definition) values ('held', 'rows', 'public.held', 'hour', '{}')`,
  );
  source = await sourceOf(database.pool, 'held', 'net');
});

type Held = Pick<BlockRange, 'start' | 'end'> & Partial<Pick<BlockRange, 'hash' | 'prevHash'>>;

const hold = async (ranges: readonly Held[]): Promise<void> => {
  await database.pool.query('delete from strata.stream_batches');
  await database.pool.query(
    `insert into strata.stream_batches (source_id, start_block, end_block, hash, prev_hash, batch_id, row_count)
     select $1, r.start, r."end", r.hash, r."prevHash", 0, 0 from jsonb_to_recordset($2) r (start bigint, "end" bigint, hash text, "prevHash" text)
     on conflict do nothing`,
    [source, JSON.stringify(ranges)],
  );
};

test('every block of the span that no range covers is in one hole, in order', async () => {
  const ranges = fc.array(
    fc
      .tuple(fc.nat({ max: 60 }), fc.oneof(fc.constant(0), fc.nat({ max: 25 })))
      .map(([start, more]) => ({ start, end: start + more })),
    { maxLength: 12 },
  );
  await fc.assert(
    fc.asyncProperty(ranges, fc.nat({ max: 70 }), fc.nat({ max: 90 }), async (held, from, to) => {
      // Of ranges with one start the ledger has the first.
      const kept = held.filter(
        (range, index) => held.findIndex(({ start }) => start === range.start) === index,
      );
      await hold(held);
      const holes = await ledgerHoles(database.pool, 'held', 'net', { from, to });
      const missing = Array.from({ length: Math.max(0, to - from) }, (_, index) => from + index).filter(
        (block) => !kept.some(({ start, end }) => start <= block && block <= end),
      );
      expect(
        holes.flatMap((hole) => Array.from({ length: hole.to - hole.from }, (_, index) => hole.from + index)),
      ).toEqual(missing);
      for (const [index, hole] of holes.entries())
        expect(hole.from).toBeGreaterThan(holes[index - 1]?.to ?? -1);
    }),
    propertyOptions(60),
  );
});

test('says the hash before a hole, and the ends', async () => {
  await hold([
    { start: 5, end: 9, hash: '0xa' },
    { start: 12, end: 12 },
    { start: 20, end: 30, hash: '0xc' },
  ]);
  expect(await ledgerHoles(database.pool, 'held', 'net', { from: 0, to: 40 })).toEqual([
    { from: 0, to: 5, hashBefore: null },
    { from: 10, to: 12, hashBefore: '0xa' },
    { from: 13, to: 20, hashBefore: null },
    { from: 31, to: 40, hashBefore: '0xc' },
  ]);
  expect(await ledgerHoles(database.pool, 'held', 'other', { from: 3, to: 4 })).toEqual([
    { from: 3, to: 4, hashBefore: null },
  ]);
  expect(await ledgerEnds(database.pool, 'held', 'net')).toEqual({ first: 5, last: 30, hash: '0xc' });
  expect(await ledgerEnds(database.pool, 'held', 'other')).toBeNull();
});

describe('beside blocks 10 (parent 0x9) to 19 (0x19)', () => {
  const held = { start: 10, end: 19, hash: '0x19', prevHash: '0x9' };
  const place = async (range: Held): Promise<void> => {
    await hold([held, range]);
    const whole = { network: 'net', hash: '', prevHash: null, timestamp: null, ...range };
    await withTransaction(database.pool, (client) => requireNeighbours(client, source, whole));
  };

  test.each<Held>([
    { start: 20, end: 25, prevHash: '0x19' },
    { start: 20, end: 25 },
    { start: 5, end: 9, hash: '0x9' },
    { start: 5, end: 9 },
    { start: 30, end: 31, prevHash: '0xbad' },
  ])('%o joins', async (range) => {
    await expect(place(range)).resolves.toBeUndefined();
  });

  test.each<Held>([
    { start: 20, end: 25, prevHash: '0xbad' },
    { start: 5, end: 9, hash: '0xbad' },
  ])('%o is of another fork', async (range) => {
    expect(await failureOf(place(range))).toMatchObject({
      kind: 'protocol',
      detail: { network: 'net', remedy: expect.stringMatching(/reorg_buffer/) as string },
    });
  });

  test.each<Held>([
    { start: 19, end: 25 },
    { start: 5, end: 10 },
    { start: 12, end: 13 },
    { start: 5, end: 25 },
  ])('%o overlaps', async (range) => {
    expect(await failureOf(place(range))).toMatchObject({ kind: 'conflict', detail: { block: range.start } });
  });
});
