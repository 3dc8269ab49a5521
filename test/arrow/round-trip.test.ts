/** Property test: random values of every type go through the encoder into a real PostgreSQL and are read back as text. */
import { Int32 } from 'apache-arrow';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { createCopyEncoder } from '../../src/arrow/copy.ts';
import { copyIn } from '../../src/db/copy-in.ts';
import { useDatabase } from '../database.ts';
import { randomRuns, seed } from '../seed.ts';
import { batchOf, numberData } from './columns.ts';
import type { Kind } from './kind.ts';
import { KINDS } from './kinds.ts';

const database = useDatabase();

const CHUNK_ROWS = 10_000;

/** Loads the values as a handful of sliced batches in one COPY; returns what PostgreSQL holds, in order. */
const throughPostgres = async (
  { pgType, lay, show }: Kind<unknown>,
  values: readonly unknown[],
): Promise<readonly (string | null)[]> => {
  const rows = values.length;
  const ids = numberData(
    new Int32(),
    values.map((_, row) => row),
  );
  const batch = batchOf({ id: ids, v: lay(values) });
  const encoder = createCopyEncoder(batch.schema, {
    columns: [
      { name: 'id', source: 'id', pgType: 'integer', nullable: false },
      { name: 'v', source: 'v', pgType, nullable: true },
    ],
    chunkBytes: 8192,
  });
  const frames = function* (): Generator<Buffer> {
    yield encoder.header();
    for (const [begin, end] of [
      [0, 1],
      [1, 11],
      [11, rows >> 1],
      [rows >> 1, rows],
    ] as const)
      yield* encoder.encode(batch.slice(begin, end));
    yield encoder.trailer();
  };
  const client = await database.pool.connect();
  try {
    await client.query(`set time zone 'America/New_York'; create temp table t (id int, v ${pgType})`);
    expect(await copyIn(client, 'copy t from stdin (format binary)', frames())).toBe(rows);
    const { rows: held } = await client.query<{ s: string | null }>(`select ${show} as s from t order by id`);
    return held.map(({ s }) => s);
  } finally {
    await client.query('drop table if exists t; reset time zone');
    client.release();
  }
};

/** jsonb has its own spacing and order of keys; PostgreSQL brings the expected text into it. */
const asJsonb = async (expected: readonly (string | null)[]): Promise<readonly (string | null)[]> => {
  const { rows } = await database.pool.query<{ s: string | null }>(
    'select e::jsonb::text as s from unnest($1::text[]) with ordinality as x (e, n) order by n',
    [expected],
  );
  return rows.map(({ s }) => s);
};

describe(`random values through PostgreSQL, PGSTRATA_SEED=${seed()}`, () => {
  it.each(Object.keys(KINDS))(
    '%s',
    async (name) => {
      const kind = KINDS[name]!;
      let left = randomRuns(1000);
      for (let round = 0; left > 0; round++, left -= CHUNK_ROWS) {
        const numRuns = Math.max(12, Math.min(left, CHUNK_ROWS));
        const values = fc.sample(fc.option(kind.draw, { freq: 9 }), { seed: seed() + round, numRuns });
        const expected = values.map((value) => (value === null ? null : kind.expect(value)));
        const held = await throughPostgres(kind, values);
        expect(held).toEqual(kind.pgType === 'jsonb' ? await asJsonb(expected) : expected);
      }
    },
    600_000,
  );
});
