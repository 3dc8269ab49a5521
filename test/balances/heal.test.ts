/** A lost, wrong or half-restored state costs nothing but time: the next fold rebuilds it from history, and is exact. */
import { describe, expect, test } from 'vitest';
import { WarehouseError } from '../../src/runtime/errors.ts';
import { withTransaction } from '../../src/db/pool.ts';
import { useBalances } from './database.ts';
import { assetOf, blocksOf, DAY, HOUR, move, openStream, valueOf, verified, WEEK } from './harness.ts';
import type { StateLoss } from './histories.ts';
import { LOSSES } from './play.ts';
import { expectExact } from './tables.ts';

const database = useBalances();

describe('a state that was lost', () => {
  const kinds = Object.keys(LOSSES) as StateLoss[];
  test.each(kinds)('by being %s is rebuilt by the next fold', async (loss) => {
    const stream = openStream(database.pool, `lost_${loss.replaceAll(' ', '_')}`);
    await stream.play(
      blocksOf([move(0, 1, 100, 0n), move(1, 2, 40, DAY)], [move(1, 3, 5, DAY + HOUR, 1)]),
      0,
    );
    await database.pool.query(LOSSES[loss]);
    expect((await verified(database.pool)).differences).toBeGreaterThan(0);
    await stream.play(blocksOf([move(2, 1, 7, 2n * DAY), move(0, 1, 1, HOUR)]), 1);
    await expectExact(database.pool, 'hour', stream.assets);
    expect(await valueOf(database.pool, 'select stale from strata.balance_status')).toBe(false);
    expect((await verified(database.pool)).differences).toBe(0);
  });

  // Citus has no triggers on the tables that it distributes; a shard that is lost whole is healed.
  test.skipIf(database.topology === 'citus')(
    'is noticed when a leaf is truncated while the rest stands',
    async () => {
      const stream = openStream(database.pool, 'leaf');
      await stream.play(blocksOf([move(0, 1, 3, 0n)]), 0);
      expect(await valueOf(database.pool, 'select strata.state_is_stale()')).toBe(false);
      await database.pool.query('truncate strata.account_balances_current_hash_0');
      expect(await valueOf(database.pool, 'select strata.state_is_stale()')).toBe(true);
      expect(await valueOf(database.pool, 'select reason from strata.balance_status')).toContain(
        'was truncated',
      );
      await stream.play(blocksOf([move(0, 1, 3, WEEK)]), 1);
      await expectExact(database.pool, 'hour', stream.assets);
    },
  );

  test('is rebuilt once while four workers fold side by side', async () => {
    const stream = openStream(database.pool, 'workers', { fold: 'deferred', check: () => Promise.resolve() });
    const blocks = Array.from({ length: 12 }, (_unused, block) =>
      [1, 2, 3, 4].map((to) => move(0, to, block + to, BigInt(block) * HOUR)),
    );
    await stream.play(blocksOf(...blocks), 0);
    await database.pool.query('truncate strata.account_balances_current');
    const source = await valueOf<number>(
      database.pool,
      `select source_id from strata.sources where stream = 'workers'`,
    );
    await Promise.all(
      [0, 1, 2, 3].map(async (partition) => {
        for (;;) {
          const { rows } = await database.pool.query<{ to_block: number | null }>(
            'select to_block from strata.fold_pending($1::smallint, $2, 5)',
            [source, partition],
          );
          if (rows[0]?.to_block === null) return;
        }
      }),
    );
    await expectExact(database.pool, 'hour', stream.assets);
  });
});

describe('a fold', () => {
  test.each([1n, 5n, 40n])('seeds a late row from the row %s weeks before', async (weeks) => {
    const stream = openStream(database.pool, `far_${weeks}`);
    const newest = [move(0, 1, 5, 0n), move(0, 2, 6, 0n)];
    await stream.play(
      blocksOf([move(0, 1, 100, -(20n + weeks) * WEEK), move(1, 2, 3, -70n * WEEK)], newest),
      0,
    );
    await stream.play(blocksOf([move(0, 1, 30, -20n * WEEK), move(0, 3, 1, -20n * WEEK + DAY)]), 1);
    await expectExact(database.pool, 'hour', stream.assets);
  });

  test('that was missed or died is made up for by the next one', async () => {
    const stream = openStream(database.pool, 'missed', { fold: 'deferred', check: () => Promise.resolve() });
    const step = blocksOf([move(0, 1, 10, 0n)], [move(1, 2, 4, HOUR)], [move(0, 2, 1, -DAY)]);
    await stream.play(step, 0);
    await stream.play({ ...step, crash: { at: 6, sent: true } }, 1);
    const source = await valueOf<number>(
      database.pool,
      `select source_id from strata.sources where stream = 'missed'`,
    );
    expect(
      await valueOf(database.pool, 'select count(*)::int from strata.account_balances where asset_id = $1', [
        assetOf('missed'),
      ]),
    ).toBe(0);
    const died = withTransaction(database.pool, async (client) => {
      await client.query('select strata.fold_pending($1::smallint, 0)', [source]);
      await client.query('select strata.fold_pending($1::smallint, 1)', [source]);
      throw new WarehouseError('cancelled', 'died before its commit');
    });
    await expect(died).rejects.toThrow('died');
    for (const partition of [3, 1, 0, 2])
      await database.pool.query('select strata.fold_pending($1::smallint, $2)', [source, partition]);
    await expectExact(database.pool, 'hour', stream.assets);
  });

  test('goes in block order up to the first gap of the ledger, and on when that is filled', async () => {
    const stream = openStream(database.pool, 'gap', { fold: 'deferred', check: () => Promise.resolve() });
    const hours = [0n, 1n, 2n, 3n].map((hour) => [move(0, 1, 10, hour * HOUR)]);
    await stream.play(blocksOf(...hours), 0);
    const { rows } = await database.pool.query<{ source_id: number; end_block: number }>(
      `select source_id, end_block from strata.stream_batches join strata.sources using (source_id) where stream = 'gap' order by end_block`,
    );
    const [first, second, , last] = rows.map(({ end_block }) => end_block);
    const moveAway = (block: number, by: number): Promise<unknown> =>
      database.pool.query(
        `update strata.stream_batches set start_block = start_block + $3, end_block = end_block + $3 where source_id = $1 and end_block = $2`,
        [rows[0]!.source_id, block, by],
      );
    const folded = async (): Promise<readonly (number | null)[]> => {
      const blocks = await Promise.all(
        [0, 1, 2, 3].map((partition) =>
          valueOf<number | null>(
            database.pool,
            'select to_block from strata.fold_pending($1::smallint, $2)',
            [rows[0]!.source_id, partition],
          ),
        ),
      );
      // On a cluster the first to come folds for all.
      const first = blocks.find((block) => block !== null) ?? null;
      return database.topology === 'citus' ? blocks.map(() => first) : blocks;
    };
    await moveAway(second!, 1000);
    expect(await folded()).toEqual([first, first, first, first]);
    expect(await folded()).toEqual([null, null, null, null]);
    await moveAway(second! + 1000, -1000);
    expect(await folded()).toEqual([last, last, last, last]);
    await expectExact(database.pool, 'hour', stream.assets);
  });

  test.each(['forwards', 'backwards'])(
    'called often in one transaction, %s, folds each change once',
    async (order) => {
      const name = `often_${order}`;
      const stream = openStream(database.pool, name, { fold: 'deferred', check: () => Promise.resolve() });
      await stream.play(
        blocksOf(
          [move(0, 1, 10, 0n)],
          [move(1, 2, 4, HOUR)],
          [move(2, 1, 1, HOUR)],
          [move(2, 1, 1, 3n * HOUR)],
        ),
        0,
      );
      const source = await valueOf<number>(
        database.pool,
        'select source_id from strata.sources where stream = $1',
        [name],
      );
      await withTransaction(database.pool, async (client) => {
        for (const block of order === 'forwards' ? [0, 1, 2, 3] : [3, 2, 1, 0])
          await client.query('select strata.fold_changes($1::smallint, $2, $2)', [source, block]);
        await client.query('select strata.advance_fold($1::smallint, null, 3)', [source]);
      });
      await expectExact(database.pool, 'hour', stream.assets);
    },
  );

  test('that follows sees a fork that cuts a batch it has folded, and folds the new blocks once', async () => {
    const stream = openStream(database.pool, 'cut', { fold: 'deferred', check: () => Promise.resolve() });
    const three = {
      ...blocksOf([move(0, 1, 10, 0n)], [move(0, 1, 4, HOUR)], [move(1, 2, 1, 2n * HOUR)]),
      blocksPerBatch: 3,
    };
    await stream.play(three, 0);
    const source = await valueOf<number>(
      database.pool,
      `select source_id from strata.sources where stream = 'cut'`,
    );
    const fold = async (): Promise<void> => {
      for (const partition of [0, 1, 2, 3])
        await database.pool.query('select strata.fold_pending($1::smallint, $2)', [source, partition]);
    };
    await fold();
    await stream.play({ ...three, back: 2 }, 1);
    expect((await verified(database.pool)).first).toEqual([]);
    await fold();
    await expectExact(database.pool, 'hour', stream.assets);
  });

  test('refuses to take back more changes than were folded', async () => {
    const stream = openStream(database.pool, 'excess');
    await stream.play(blocksOf([move(0, 1, 10, 0n)], [move(0, 1, 10, HOUR)]), 0);
    const before = await expectExact(database.pool, 'hour', stream.assets);
    const taking = withTransaction(database.pool, async (client) => {
      await client.query('select strata.open_deltas()');
      await client.query(
        `insert into pg_temp.balance_deltas select account_address, asset_id, "timestamp", -10, -2
           from strata.account_balances where asset_id = $1 and balance > 0 limit 1`,
        [assetOf('excess')],
      );
      await client.query('select strata.fold_deltas()');
    });
    await expect(taking).rejects.toThrow('more changes were taken back than folded');
    expect(await expectExact(database.pool, 'hour', stream.assets)).toEqual(before);
  });
});
