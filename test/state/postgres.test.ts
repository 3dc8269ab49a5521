/** The ledger in PostgreSQL beyond the contract of all: its transaction, what waits for its fold, its plans. */
import { describe, expect, test } from 'vitest';
import type { QueryConfig } from 'pg';
import type { BlockRange } from '../../src/chain/range.ts';
import type { Pool } from '../../src/db/query.ts';
import { postgresStore } from '../../src/warehouse/state/postgres.ts';
import type { StateStore } from '../../src/warehouse/state/store.ts';
import { claimStream } from '../../src/warehouse/stream-state.ts';
import { useDatabase } from '../database.ts';

const database = useDatabase();
let streams = 0;

const newStream = async (load: 'rows' | 'transfers'): Promise<string> => {
  const stream = `postgres_${(streams += 1)}`;
  await claimStream(database.pool, { stream, load, target: 'public.t', grain: 'hour', definition: {} });
  return stream;
};

/** Five blocks. */
const range = (start: number): BlockRange => ({
  network: 'net',
  start,
  end: start + 4,
  hash: `0x${start}`,
  prevHash: null,
  timestamp: null,
});
const mark = (store: StateStore, ...starts: number[]): Promise<void> =>
  store.markProcessed(
    starts.map((start) => ({
      range: range(start),
      count: { rows: 1, quarantined: 0, minTime: null, maxTime: null },
    })),
  );

describe('postgres: a ledger', () => {
  test('is part of the transaction it is written in', async () => {
    const stream = await newStream('rows');
    const outside = postgresStore(database.pool, stream);
    const client = await database.pool.connect();
    try {
      await client.query('begin');
      const inside = postgresStore(client, stream);
      await mark(inside, 0);
      expect(await inside.isProcessed(range(0))).toBe(true);
      expect(await outside.isProcessed(range(0))).toBe(false);
      await client.query('rollback');
      expect(await outside.isProcessed(range(0))).toBe(false);
    } finally {
      client.release();
    }
  });

  test('of changes that wait for their fold is not merged before it', async () => {
    const stream = await newStream('transfers');
    const store = postgresStore(database.pool, stream);
    await mark(store, 0, 5, 10, 15);
    expect(await store.cleanup('net', 1000, 1)).toBe(0);
    await database.pool.query(
      `insert into strata.fold_progress (source_id, hash_partition, folded_block)
       select source_id, h, case h when 2 then 9 else 19 end from strata.sources, generate_series(0, 3) h where stream = $1`,
      [stream],
    );
    expect(await store.cleanup('net', 1000, 1)).toBe(1);
  });

  test('of a hundred thousand ranges is read, tested and cut by its indexes', async () => {
    const stream = await newStream('rows');
    await mark(postgresStore(database.pool, stream), 0);
    await database.pool.query(
      `insert into strata.stream_batches (source_id, start_block, end_block, hash, batch_id, row_count)
       select source_id, g * 5, g * 5 + 4, '0x' || g, g, 1 from strata.sources, generate_series(1, 100000) g where stream = $1`,
      [stream],
    );
    await database.pool.query('analyze strata.stream_batches');
    const asked: QueryConfig[] = [];
    const listening = Object.create(database.pool, {
      query: {
        value: (text: string, values: unknown[]) => {
          asked.push({ text, values });
          return database.pool.query(text, values);
        },
      },
    }) as Pool;
    const store = postgresStore(listening, stream);
    await store.tails();
    await store.tails(250_000);
    await store.resumePosition(false);
    await store.isProcessed(range(499_000));
    await store.gaps('net', { from: 499_000, to: null });
    await store.invalidSpan({ network: 'net', from: 499_000, to: null });
    await store.invalidate({ network: 'net', from: 500_003, to: null });
    expect(asked.length).toBeGreaterThan(8);
    for (const { text, values } of asked.filter((query) => query.text.includes('stream_batches'))) {
      const { rows } = await database.pool.query<{ 'QUERY PLAN': string }>(`explain ${text}`, values);
      const plan = rows.map((row) => row['QUERY PLAN']).join('\n');
      expect(plan).toMatch(/Index (Only )?Scan|Bitmap Index Scan/);
      expect(plan, text).not.toMatch(/Seq Scan on stream_batches/);
    }
  });
});
