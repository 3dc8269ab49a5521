/** Tests of the balance-change buffer: order, bytes, reuse, and a real COPY into balance_changes. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import type { ChangeBuffer } from '../../src/arrow/changes.ts';
import { CHANGE_COLUMNS, createChangeBuffer } from '../../src/arrow/changes.ts';
import { createLeafOf } from '../../src/arrow/hash-leaf.ts';
import { writeSafeInteger } from '../../src/arrow/numeric.ts';
import { copyIn } from '../../src/db/copy-in.ts';
import { useDatabase } from '../database.ts';
import { propertyOptions } from '../seed.ts';
import { rowsOf } from './copy-rows.ts';

/** A change as plain values. */
interface Change {
  readonly account: Uint8Array;
  readonly asset: bigint;
  readonly time: number;
  readonly block: number;
  readonly ordinal: number;
  readonly delta: number;
}

const append = (buffer: ChangeBuffer, change: Change): void => {
  const delta = new Uint8Array(64);
  const end = writeSafeInteger(change.delta, false, new DataView(delta.buffer), 5);
  const account = Uint8Array.of(9, ...change.account, 9);
  buffer.append(
    account,
    1,
    account.length - 1,
    Number(change.asset >> 32n),
    Number(BigInt.asIntN(32, change.asset)),
    change.time,
    change.block,
    change.ordinal,
    delta,
    5,
    end,
  );
};

const int64 = (value: bigint): string => BigInt.asUintN(64, value).toString(16).padStart(16, '0');
const int32 = (value: number): string => (value >>> 0).toString(16).padStart(8, '0');

/** The row a change must become, without its delta. */
const expectedRow = ({ account, asset, time, block, ordinal }: Change): readonly string[] => [
  Buffer.from(account).toString('hex'),
  int64(asset),
  int64(BigInt(time)),
  int64(BigInt(block)),
  int32(ordinal),
  '0007',
];

const compare = (left: Change, right: Change): number =>
  Buffer.compare(left.account, right.account) ||
  Number(left.asset > right.asset) - Number(left.asset < right.asset) ||
  left.time - right.time ||
  left.block - right.block ||
  left.ordinal - right.ordinal;

const draw: fc.Arbitrary<Change> = fc.record({
  // Few distinct bytes, so that accounts share prefixes and differ in length alone.
  account: fc.oneof(
    fc.uint8Array({ maxLength: 12, max: 2 }),
    fc.uint8Array({ minLength: 20, maxLength: 20 }),
    fc.constantFrom('cosmos1aaaa', 'cosmos1aaab', 'cosmos1aaa').map((text) => new TextEncoder().encode(text)),
  ),
  asset: fc.oneof(
    fc.constantFrom(0n, 1n, -1n, 2n ** 31n, 2n ** 32n, -(2n ** 63n)),
    fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  ),
  time: fc.oneof(fc.integer({ min: -3, max: 3 }), fc.maxSafeInteger()),
  block: fc.oneof(fc.nat(3), fc.maxSafeNat()),
  ordinal: fc.integer({ min: 0, max: 3 }),
  delta: fc.integer(),
});

describe('the change buffer', () => {
  it('yields the changes in key order, leaf by leaf', () => {
    const leafOf = createLeafOf(4);
    const leaf = ({ account }: Change): number => leafOf(account, 0, account.length);
    const buffer = createChangeBuffer({ leafOf });
    fc.assert(
      fc.property(fc.array(draw, { maxLength: 120 }), (changes) => {
        buffer.clear();
        for (const change of changes) append(buffer, change);
        expect(buffer.count).toBe(changes.length);
        const frames = [...buffer.frames(7)];
        const rows = rowsOf(frames.slice(1, -1)).map((row) => row.slice(0, 6));
        const sorted = changes.toSorted((left, right) => leaf(left) - leaf(right) || compare(left, right));
        expect(rows).toEqual(sorted.map(expectedRow));
      }),
      propertyOptions(300),
    );
  });

  it('sorts one hot account among thousands, and keeps its memory', () => {
    const buffer = createChangeBuffer();
    const hot = new Uint8Array(20);
    for (let round = 0; round < 2; round++) {
      buffer.clear();
      expect([buffer.count, buffer.bytes]).toEqual([0, 0]);
      for (let change = 0; change < 20_000; change++) {
        const account = change % 2 === 0 ? hot : Uint8Array.of(change >> 8, change & 255, 1);
        const ordinal = (change * 7919) % 20_000;
        append(buffer, {
          account,
          asset: BigInt(change % 3) - 1n,
          time: 5,
          block: 1,
          ordinal,
          delta: change,
        });
      }
      expect(buffer.bytes).toBeGreaterThan(20_000 * 44);
      const rows = rowsOf([...buffer.frames(7)].slice(1, -1));
      const keys = rows.map(
        (row) => `${row[0]!.padEnd(40, ' ')}${int64(BigInt(`0x${row[1]!}`) ^ (1n << 63n))}${row[4]!}`,
      );
      expect(keys).toHaveLength(20_000);
      expect(keys.every((key, index) => index === 0 || keys[index - 1]! < key)).toBe(true);
    }
  });

  it('empty, it is still a whole COPY', () => {
    expect([...createChangeBuffer().frames(1)].map((frame) => frame.length)).toEqual([24, 7]);
  });
});

describe('in PostgreSQL', () => {
  const database = useDatabase();

  it('the rows are what was appended', async () => {
    const buffer = createChangeBuffer({ leafOf: createLeafOf(4) });
    const changes = Array.from({ length: 3000 }, (_, index): Change => ({
      account: Uint8Array.of(index % 251, index % 7),
      asset: BigInt(index % 5) * 3_000_000_000_000_000_000n - 2n ** 62n,
      time: 820_454_400_000_000 + index,
      block: index + 4_294_967_290,
      ordinal: index,
      delta: index % 2 === 0 ? -index : index * 1_000_003,
    }));
    for (const change of changes) append(buffer, change);
    const client = await database.pool.connect();
    try {
      await client.query(
        `create temp table t (account_address bytea, asset_id bigint, block_time timestamptz, block_num bigint,
                              ordinal int, source_id smallint, delta numeric)`,
      );
      const copied = await copyIn(
        client,
        `copy t (${CHANGE_COLUMNS.join(', ')}) from stdin (format binary)`,
        buffer.frames(3),
      );
      expect(copied).toBe(changes.length);
      const { rows } = await client.query<Record<string, string>>(
        `select encode(account_address, 'hex') as account, asset_id::text as asset,
                trunc(extract(epoch from block_time - timestamptz '2000-01-01Z') * 1000000)::text as time,
                block_num::text as block, ordinal::text as ordinal, source_id::text as source, delta::text as delta
         from t order by t.ordinal`,
      );
      expect(rows).toEqual(
        changes.map(({ account, asset, time, block, ordinal, delta }) => ({
          account: Buffer.from(account).toString('hex'),
          asset: String(asset),
          time: String(time),
          block: String(block),
          ordinal: String(ordinal),
          source: '3',
          delta: String(delta === 0 ? 0 : delta),
        })),
      );
    } finally {
      await client.query('drop table if exists t');
      client.release();
    }
  });
});
