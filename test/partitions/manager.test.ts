/** The library's partition manager and batch inserter, as a program uses them. */
import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import { createPool } from '../../src/db/pool.ts';
import type { Pool } from '../../src/db/query.ts';
import { accountBytes } from '../../src/warehouse/account.ts';
import { createBatchInserter, type BalanceRecord } from '../../src/warehouse/partitions/batch-inserter.ts';
import { createPartitionManager } from '../../src/warehouse/partitions/manager.ts';
import { verifyBalances } from '../../src/warehouse/verify.ts';
import { useDatabase } from '../database.ts';
import { propertyOptions } from '../seed.ts';
import { digest, fillWeeks, KEYS, picture, shape } from './weeks.ts';

const database = useDatabase();
let pool: Pool;

/** A database of its own for each test of the describe block that calls it. */
const freshDatabases = (): void => {
  beforeEach(async () => {
    pool = createPool((await database.createDatabase()).url);
    return () => pool.end();
  });
};

const day = (text: string): Date => new Date(`${text}T00:00:00Z`);

describe('createPartitionManager', () => {
  freshDatabases();

  it('creates weeks, tells of them, and consolidates: dry first', async () => {
    const manager = createPartitionManager(pool);
    const made = await manager.createWeeklyPartitions(day('2026-01-04'), day('2026-01-18'), 4);
    expect(made.map(({ partition, created }) => `${partition} ${created}`)).toEqual([
      'account_balances_2026_01_04 true',
      'account_balances_2026_01_11 true',
    ]);
    await manager.ensurePartitionExists(new Date('2026-01-20T10:00:00Z'));
    await fillWeeks(pool, KEYS.slice(0, 2), 200);
    const rows = await digest(pool, 'strata.account_balances');
    expect(await manager.getPartitionInfo()).toHaveLength(12);
    expect((await manager.getPartitionInfo())[0]).toMatchObject({
      tablename: 'account_balances_2026_01_04_hash_0',
      week_start: day('2026-01-04'),
      week_end: day('2026-01-11'),
      partition_type: 'HASH_PARTITIONED',
    });
    const before = await picture(pool);
    expect((await manager.consolidateOldPartitions()).map(({ status }) => status)).toEqual([
      'DRY RUN',
      'DRY RUN',
      'DRY RUN',
    ]);
    expect(await picture(pool)).toEqual(before);
    expect((await manager.consolidateOldPartitions(3, false)).map(({ status }) => status)).toEqual([
      'CONSOLIDATED',
      'CONSOLIDATED',
      'CONSOLIDATED',
    ]);
    expect(await digest(pool, 'strata.account_balances')).toBe(rows);
    expect(
      (await manager.getConsolidationStatus()).map(
        ({ week_key, partition_type, partition_count }) => `${week_key} ${partition_type} ${partition_count}`,
      ),
    ).toEqual(KEYS.slice(0, 3).map((key) => `${key} CONSOLIDATED 1`));
  });

  it('consolidates under writers, by as few as four connections, and says of each week what became of it', async () => {
    await fillWeeks(pool, KEYS.slice(0, 3), 200);
    await pool.query(`
      create table strata.account_balances_2026_01_11_consolidated ();
      create table strata.part_of_one partition of strata.account_balances for values from ('2026-02-02') to ('2026-02-03')`);
    const rows = await digest(pool, 'strata.account_balances');
    const few = createPool(pool.options.connectionString ?? '', { max: 4 });
    const manager = createPartitionManager(few);
    const answers = await manager.consolidateOldPartitions(0, false);
    await few.end();
    expect(answers.map(({ week_key, status, message }) => `${week_key} ${status} ${message}`)).toEqual([
      expect.stringMatching(
        /^2026_01_04 CONSOLIDATED \d+ rows in .*_2026_01_04_consolidated; the old week is held/,
      ),
      expect.stringMatching(/^2026_01_11 FAILED there is a \S+ already\. Rename or drop it/),
      expect.stringMatching(/^2026_01_18 CONSOLIDATED/),
      expect.stringMatching(/^2026_02_01 SKIPPED it is not one whole week/),
    ]);
    expect(await digest(pool, 'strata.account_balances')).toBe(rows);
    const { rows: journal } = await pool.query(
      `select (select array_agg(distinct way || ' ' || step) from strata.consolidations) as ways, asked_by, outcome, error from strata.maintenance_runs`,
    );
    expect(journal).toEqual([
      {
        ways: ['online swapped'],
        asked_by: 'library',
        outcome: 'failed',
        error: expect.stringMatching(/^2026_01_11: there is/),
      },
    ]);
  });

  it('cuts new weeks by the number of hash partitions that is given', async () => {
    const manager = createPartitionManager(pool);
    await manager.createWeeklyPartitions(day('2026-01-04'), day('2026-01-11'), 2);
    await manager.ensurePartitionExists(day('2026-01-12'));
    expect(await shape(pool)).toEqual([
      'hash 2 account_balances_2026_01_04',
      'hash 2 account_balances_2026_01_11',
    ]);
    await expect(
      manager.createWeeklyPartitions(day('2026-01-18'), day('2026-01-25'), 0),
    ).rejects.toMatchObject({ kind: 'config' });
    await expect(
      manager.createWeeklyPartitions(day('2026-01-18'), day('2026-01-25'), [{ name: 'g', values: ['x'] }]),
    ).rejects.toMatchObject({ kind: 'config', message: 'the weeks of account_balances are cut by hash' });
  });

  it('drops what ended by a cutoff, holds it, and tidies the rest', async () => {
    const manager = createPartitionManager(pool, { set: 'balance_changes' });
    await manager.createWeeklyPartitions(day('2026-01-04'), day('2026-02-01'));
    expect(await manager.dropOldPartitions(day('2026-01-20'))).toEqual([
      'balance_changes_2026_01_04',
      'balance_changes_2026_01_11',
    ]);
    await manager.optimizePartitions();
    const { rows } = await pool.query<{ week: string; held: boolean }>(`
      select c.relname as week, c.relnamespace = 'strata_held'::regnamespace as held
        from pg_class c where c.relkind = 'p' and c.relname like 'balance_changes_2026%' order by 1`);
    expect(rows).toEqual([
      { week: 'balance_changes_2026_01_04', held: true },
      { week: 'balance_changes_2026_01_11', held: true },
      { week: 'balance_changes_2026_01_18', held: false },
      { week: 'balance_changes_2026_01_25', held: false },
    ]);
  });

  it('says who else maintains the set, and that a set is not there', async () => {
    const client = await pool.connect();
    await client.query(`select pg_advisory_lock(strata.advisory_key('maintain account_balances'))`);
    await expect(createPartitionManager(pool).consolidateOldPartitions(3, false)).rejects.toMatchObject({
      kind: 'conflict',
      message: expect.stringMatching(/is being maintained already: .* pgstrata \(pid \d+\)/),
      detail: { remedy: expect.stringMatching(/Wait for that maintenance/) },
    });
    client.release(true);
    await expect(
      createPartitionManager(pool, { set: 'nothing' }).createWeeklyPartitions(
        day('2026-01-04'),
        day('2026-01-11'),
        4,
      ),
    ).rejects.toMatchObject({ kind: 'config' });
  });
});

describe('createBatchInserter', () => {
  freshDatabases();

  const inserter = (): ReturnType<typeof createBatchInserter> =>
    createBatchInserter(pool, createPartitionManager(pool));

  const stored = async (): Promise<string[]> => {
    const { rows } = await pool.query<{ line: string }>(
      `select concat_ws(' ', strata.account_text(b.account_address), a.asset_key, to_char(b."timestamp" at time zone 'UTC', 'MM-DD HH24'), b.balance, b.usd_value, b.data) as line
         from strata.account_balances b join strata.assets a using (asset_id) order by 1`,
    );
    return rows.map((row) => row.line);
  };

  const BIG = '123456789012345678901234567890.123456789012345678';

  it('stores exact numbers, in any order, for any week; the later of two wins', async () => {
    const insert = inserter();
    const record = (at: string, usdValue: BalanceRecord['usdValue'], rest = {}): BalanceRecord => ({
      timestamp: new Date(`2026-${at}:00Z`),
      accountAddress: 'rdx1q',
      activityId: 'xrd_holding',
      usdValue,
      ...rest,
    });
    expect(
      await insert([
        record('02-10T10:30', BIG, { data: { multiplier: '2.5' } }),
        record('01-05T10:00', 2n ** 90n, { balance: '-0.000000000000000001' }),
        record('01-05T11:00', 7),
        record('01-05T11:00', '8.50'),
        { ...record('01-05T11:00', '1'), accountAddress: '0x00ff', activityId: `'); drop table x; --` },
      ]),
    ).toEqual({ rows: 5, weeks: 2 });
    expect(await stored()).toEqual([
      `0x00ff '); drop table x; -- 01-05 11 1 1`,
      `rdx1q xrd_holding 01-05 10 -0.000000000000000001 ${2n ** 90n}`,
      'rdx1q xrd_holding 01-05 11 8.50 8.50',
      `rdx1q xrd_holding 02-10 10 ${BIG} ${BIG} {"multiplier": "2.5"}`,
    ]);
    await insert([record('01-05T11:00', '9')]);
    expect((await stored())[2]).toBe('rdx1q xrd_holding 01-05 11 9 9');
    const state = await pool.query<{ balance: string }>(
      `select balance from strata.account_balances_current where account_address = 'rdx1q'::bytea`,
    );
    expect(state.rows).toEqual([{ balance: BIG }]);
    expect(await verifyBalances(pool, { oneIn: 1 })).toMatchObject({ differences: 0 });
    expect(await insert([])).toEqual({ rows: 0, weeks: 0 });
  });

  it('is for balances only', () => {
    expect(() => createBatchInserter(pool, createPartitionManager(pool, { set: 'balance_changes' }))).toThrow(
      /stores balances, not rows of balance_changes/,
    );
  });

  it('of many at once leaves what a map of the last values holds', { timeout: 120_000 }, async () => {
    const recordOf = fc.record({
      timestamp: fc
        .integer({ min: 0, max: 24 * 20 })
        .map((hour) => new Date(day('2026-01-04').getTime() + hour * 3_600_000)),
      accountAddress: fc.constantFrom('a', 'b', '0x01', '0x0102'),
      activityId: fc.constantFrom('x', 'y'),
      usdValue: fc.bigInt({ min: -(2n ** 130n), max: 2n ** 130n }),
    });
    let round = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.array(recordOf, { maxLength: 60 }), { minLength: 1, maxLength: 4 }),
        async (calls) => {
          const network = `n${round++}`;
          const insert = createBatchInserter(pool, createPartitionManager(pool), {
            network,
            stream: network,
          });
          const expected = new Map<string, string>();
          for (const records of calls) {
            await insert(records);
            for (const { timestamp, accountAddress, activityId, usdValue } of records)
              expected.set(
                `${accountBytes(accountAddress).toString('hex')} ${activityId} ${timestamp.getTime() / 1000}`,
                String(usdValue),
              );
          }
          const { rows } = await pool.query<{ key: string; balance: string }>(
            `select concat_ws(' ', encode(b.account_address, 'hex'), a.asset_key, extract(epoch from b."timestamp")::bigint) as key, b.balance::text
             from strata.account_balances b join strata.assets a using (asset_id) where a.network = $1`,
            [network],
          );
          expect(new Map(rows.map(({ key, balance }) => [key, balance]))).toEqual(expected);
        },
      ),
      propertyOptions(6),
    );
    expect(await verifyBalances(pool, { oneIn: 1 })).toMatchObject({ differences: 0 });
  });

  it('is called by several at once, and each call is whole', async () => {
    const insert = inserter();
    const records = Array.from({ length: 6000 }, (_unused, i) => ({
      timestamp: new Date(day('2026-01-04').getTime() + (i % 500) * 3_600_000),
      accountAddress: `account ${i % 211}`,
      activityId: `activity ${i % 3}`,
      usdValue: `${i}.25`,
    }));
    await Promise.all([0, 1, 2, 3].map((n) => insert(records.filter((_record, i) => i % 4 === n))));
    const { rows } = await pool.query(
      `select count(*)::int as rows, (select count(*)::int from strata.stream_batches) as calls, (select count(*)::int from strata.verify_ledger()) as wrong from strata.snapshot_rows`,
    );
    expect(rows).toEqual([{ rows: 6000, calls: 4, wrong: 0 }]);
    expect(await verifyBalances(pool, { oneIn: 1 })).toMatchObject({ differences: 0 });
  });
});

describe('a batch inserter', () => {
  it.each([
    ['a double', { usdValue: 0.1 }, /record 1: usdValue 0.1 is a double/],
    ['no number', { usdValue: 'NaN' }, /record 1: usdValue "NaN" is no decimal number/],
    ['an exponent', { balance: '1e5' }, /record 1: balance "1e5" is no decimal/],
    ['no time', { timestamp: new Date(Number.NaN) }, /record 1: timestamp no time at all lies outside/],
    [
      'a far future',
      { timestamp: day('2999-01-01') },
      /record 1: timestamp 2999-01-01T00:00:00.000Z lies outside/,
    ],
    ['what is no JSON', { data: { a: 1n } }, /record 1: data cannot be written as JSON/],
  ])('refuses %s, with its place, and stores nothing', async (_what, fault, message) => {
    const good = { timestamp: day('2026-01-05'), accountAddress: 'a', activityId: 'b', usdValue: '1' };
    const failed = createBatchInserter(
      database.pool,
      createPartitionManager(database.pool),
    )([good, { ...good, ...fault }]);
    await expect(failed).rejects.toMatchObject({ kind: 'data', detail: { row: 1 } });
    await expect(failed).rejects.toThrow(message);
    const { rows } = await database.pool.query('select from strata.snapshot_rows');
    expect(rows).toEqual([]);
  });
});
