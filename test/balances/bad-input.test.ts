/** What no exact balance can be made of is refused or set aside, and leaves the balances as they were. */
import { Float64, Utf8 } from 'apache-arrow';
import { beforeAll, describe, expect, test } from 'vitest';
import type { Data } from 'apache-arrow';
import { WarehouseError } from '../../src/runtime/errors.ts';
import type { TransfersConfig } from '../../src/runtime/config.ts';
import { createTransfers } from '../../src/warehouse/transfers.ts';
import { batchOf, bytesData, numberData, utf8 } from '../arrow/columns.ts';
import { policyOf } from '../jobs/loading.ts';
import { useBalances } from './database.ts';
import { blocksOf, HOUR, move, openStream, valueOf } from './harness.ts';
import { SUNDAY, type History } from './histories.ts';
import { createPlayer, NOW } from './play.ts';
import { PLACED_TRANSFERS, transfersBatch } from './record-batches.ts';
import { expectExact } from './tables.ts';

const database = useBalances();

beforeAll(async () => {
  await openStream(database.pool, 'good').play(blocksOf([move(0, 1, 5, 0n)]), 0);
});

/** What a batch with this column of amounts is refused with. */
const refusalOf = async (amounts: Data): Promise<WarehouseError> => {
  const config = policyOf('grpc://127.0.0.1:1', { bad: PLACED_TRANSFERS }).streams['bad'] as TransfersConfig;
  const good = transfersBatch(
    [{ block: 0, position: 0, micros: SUNDAY, token: 'good_a', from: '0x01', to: '0x02', units: 1n }],
    0,
  );
  const columns = Object.fromEntries(
    good.schema.fields.map((field, index) => [field.name, good.data.children[index]!]),
  );
  const batch = batchOf({ ...columns, amount: amounts });
  const dataset = createTransfers(database.pool, 'bad', config, NOW);
  await dataset.prepare(batch.schema);
  const range = { network: 'tests', start: 0, end: 0, hash: '0x00', prevHash: null, timestamp: null };
  try {
    dataset.createBuffer().append(batch, [{ range, sourceId: 1, batchId: 1n }]);
  } catch (thrown) {
    if (thrown instanceof WarehouseError) return thrown;
    throw thrown;
  }
  throw new Error('nothing was refused');
};

describe('an amount', () => {
  test.each(['NaN', 'Infinity', '-Infinity', 'nan', '1e400', '', '1.2.3', '0x'])(
    'that says %j is refused, with its column',
    async (text) => {
      const error = await refusalOf(bytesData(new Utf8(), utf8([text])));
      expect(error).toMatchObject({ kind: 'data', detail: { column: 'amount', stream: 'bad', block: 0 } });
    },
  );

  test.each(['NaN', 'Infinity', '-Infinity'])('that a plain INSERT gives as %s is refused', async (value) => {
    const insert = `insert into strata.balance_changes (account_address, asset_id, block_time, block_num, ordinal, source_id, delta)
      select account_address, asset_id, block_time, block_num + 1000000, ordinal, source_id, '${value}' from strata.balance_changes limit 1`;
    await expect(database.pool.query(insert)).rejects.toMatchObject({
      code: '23514',
      table: expect.any(String),
    });
  });

  test('that is null is refused', async () => {
    const error = await refusalOf(bytesData(new Utf8(), utf8([null])));
    expect(error).toMatchObject({ kind: 'data', detail: { column: 'amount' } });
    expect(error.message).toContain('null');
  });

  test('that is a float is refused, for what it has lost cannot be found again', async () => {
    const error = await refusalOf(numberData(new Float64(), [Number.NaN]));
    expect(error.message).toContain('cannot be read as an exact amount');
  });
});

describe('an asset', () => {
  const grained = (stream: string, grain: History['grain']) =>
    createPlayer(
      database.pool,
      { grain, scale: 0, amounts: 'text', commitRows: 1000 },
      { stream, tokens: ['good_a', 'good_b'], check: () => Promise.resolve() },
    );

  test('under another grain than it has is refused, by name, and nothing of its batch stays', async () => {
    const before = await expectExact(database.pool);
    const daily = grained('daily', 'day');
    await expect(daily.play(blocksOf([move(0, 2, 7, HOUR)]), 0)).rejects.toMatchObject({
      kind: 'config',
      message: expect.stringContaining('are kept by the hour already') as string,
    });
    expect(await expectExact(database.pool)).toEqual(before);
    expect(
      await valueOf(
        database.pool,
        `select count(*)::int from strata.stream_batches join strata.sources using (source_id) where stream = 'daily'`,
      ),
    ).toBe(0);
  });

  test('under the same grain may come from any number of streams', async () => {
    await grained('hourly', 'hour').play(blocksOf([move(0, 2, 7, HOUR)]), 0);
    await expectExact(database.pool);
  });

  test('that strata.assets does not have is refused when changes in it are to be folded, and nothing of them is', async () => {
    const before = await expectExact(database.pool);
    const client = await database.pool.connect();
    try {
      await client.query('begin');
      await client.query(`insert into strata.balance_changes (account_address, asset_id, block_time, block_num, ordinal, source_id, delta)
        select account_address, strata.asset_id('tests', 'erc0', 'unheard of', null), block_time, block_num, 9, source_id, delta from strata.balance_changes limit 1`);
      await expect(
        client.query(`select strata.fold_changes(source_id, start_block, end_block)
          from strata.stream_batches join strata.sources using (source_id) where stream = 'good'`),
      ).rejects.toMatchObject({
        code: '23503',
        message: expect.stringContaining('which strata.assets does not have') as string,
        hint: expect.stringContaining('strata.asset_id(') as string,
      });
    } finally {
      await client.query('rollback');
      client.release();
    }
    expect(await expectExact(database.pool)).toEqual(before);
  });
});
