/** Tests of the hash partition of an account, against PostgreSQL's own routing. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { createLeafOf } from '../../src/arrow/hash-leaf.ts';
import { useDatabase } from '../database.ts';
import { randomRuns, seed } from '../seed.ts';

const database = useDatabase();

describe(`the leaf of an account, PGSTRATA_SEED=${seed()}`, () => {
  it.each([1, 2, 4, 7, 16, 1000, 65_535])('modulus %i', async (modulus) => {
    const leafOf = createLeafOf(modulus);
    const random = fc.sample(fc.uint8Array({ maxLength: 80 }), { seed: seed(), numRuns: randomRuns(1000) });
    // Every length around the 12-byte blocks of the hash, and high bits in every place.
    const lengths = Array.from({ length: 50 }, (_, length) => new Uint8Array(length).fill(0xff - length));
    const accounts = [...lengths, ...random].map((bytes) => Buffer.from(bytes));
    const leaves = accounts.map((bytes) =>
      leafOf(Buffer.concat([Buffer.alloc(3), bytes]), 3, 3 + bytes.length),
    );
    const client = await database.pool.connect();
    try {
      await client.query('create temp table hashed (account bytea) partition by hash (account)');
      const { rows } = await client.query<{ account: string }>(
        `select encode(account, 'hex') as account from unnest($2::bytea[], $3::int[]) as given (account, leaf)
         where not satisfies_hash_partition('hashed'::regclass, $1, leaf, account)`,
        [modulus, accounts, leaves],
      );
      expect(rows).toEqual([]);
    } finally {
      await client.query('drop table if exists hashed');
      client.release();
    }
  });
});
