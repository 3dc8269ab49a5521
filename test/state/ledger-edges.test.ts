/** Where a ledger ends, and which ranges may be committed beside those that are in it. */
import { beforeAll, describe, expect, test } from 'vitest';
import type { BlockRange } from '../../src/chain/range.ts';
import { withTransaction } from '../../src/db/pool.ts';
import { ledgerEnds, requireNeighbours } from '../../src/warehouse/ledger-edges.ts';
import { sourceOf } from '../../src/warehouse/stream-state.ts';
import { useDatabase } from '../database.ts';
import { failureOf } from '../flight/collect.ts';

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

test('says the ends', async () => {
  await hold([
    { start: 5, end: 9, hash: '0xa' },
    { start: 12, end: 12 },
    { start: 20, end: 30, hash: '0xc' },
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
