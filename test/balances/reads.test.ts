/** What people read: the views, and the balance as of an instant, exact and the same in any session. */
import { beforeAll, describe, expect, test } from 'vitest';
import { balanceAt } from '../../src/warehouse/rebuild.ts';
import { useBalances } from './database.ts';
import { assetOf, blocksOf, DAY, HOUR, instant, move, openStream, valueOf, WEEK } from './harness.ts';

const database = useBalances();
const ONE = '0xaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa01';
const TWO = '0xaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa02';
const MOMENT = 40n * 60_000_000n;

beforeAll(async () => {
  const stream = openStream(database.pool, 'seen');
  await stream.play(
    blocksOf(
      [move(0, 1, 1_500_000, 0n), move(0, 4, 5, HOUR, 1)],
      [move(1, 2, 2_000_000, DAY + MOMENT), move(2, 2, 9, DAY + MOMENT + 1n)],
      [move(0, 1, 250_000, WEEK - 1n), move(0, 1, 250_000, WEEK)],
    ),
    0,
  );
  await database.pool.query(`update strata.assets set symbol = 'USDX', decimals = 6 where asset_id = $1`, [
    assetOf('seen'),
  ]);
});

describe('the views', () => {
  test('show text accounts, symbols, scaled amounts and what is negative', async () => {
    const { rows } = await database.pool.query(
      `select account, network, asset, amount::text, negative, change_count from strata.balances where account_address = strata.account($1) order by "timestamp"`,
      [ONE],
    );
    const shared = { account: ONE, network: 'tests', asset: 'USDX', change_count: 1 };
    expect(rows.map((row) => ({ ...row, amount: String(Number(row.amount)) }))).toEqual([
      { ...shared, amount: '1.5', negative: false },
      { ...shared, amount: '-0.5', negative: true },
      { ...shared, amount: '-0.25', negative: true },
      { ...shared, amount: '0', negative: false },
    ]);
    expect(
      await valueOf(
        database.pool,
        `select jsonb_agg(jsonb_build_array(account, asset, trim_scale(amount)) order by account, asset) from strata.balances_current`,
      ),
    ).toEqual([
      [ONE, 'USDX', 0],
      [TWO, 'USDX', 2],
      ['cosmos1abc', 'seen_b', 5],
    ]);
  });

  test('keep every digit of a scaled amount', async () => {
    await database.pool.query(
      'begin; update strata.account_balances set balance = 2::numeric ^ 255 - 1; commit',
    );
    expect(
      await valueOf(
        database.pool,
        `select trim_scale(amount)::text from strata.balances where account = $1 limit 1`,
        [ONE],
      ),
    ).toBe('57896044618658097711785492504343953926634992332820282019728792003956564.819967');
    await database.pool.query('update strata.assets set decimals = 60 where asset_id = $1', [
      assetOf('seen'),
    ]);
    for (const view of ['balances', 'balances_current'])
      expect(
        await valueOf(
          database.pool,
          `select trim_scale(amount / balance)::text from strata.${view} where account = $1 and balance > 1 limit 1`,
          [TWO],
        ),
      ).toBe(`0.${'0'.repeat(59)}1`);
    await database.pool.query('update strata.assets set decimals = 6 where asset_id = $1', [assetOf('seen')]);
    await database.pool.query('select strata.rebuild_balances()');
  });

  test('hide the zero address, which the tables have', async () => {
    const zero = `'\\x${'00'.repeat(20)}'`;
    for (const view of ['balances', 'balances_current'])
      expect(
        await valueOf(
          database.pool,
          `select count(*)::int from strata.${view} where account_address = ${zero}`,
        ),
      ).toBe(0);
    expect(
      await valueOf(
        database.pool,
        `select count(*)::int from strata.account_balances_current where account_address = ${zero}`,
      ),
    ).toBe(2);
  });
});

describe('balance_at', () => {
  const at = (instantText: string, account = ONE): Promise<string> =>
    balanceAt(database.pool, account, assetOf('seen'), instantText as unknown as Date);

  test('is exact to the microsecond, changes of the very instant included', async () => {
    const points: readonly (readonly [bigint, string])[] = [
      [-1n, '0'],
      [0n, '1500000'],
      [DAY + MOMENT - 1n, '1500000'],
      [DAY + MOMENT, '-500000'],
      [WEEK - 2n, '-500000'],
      [WEEK - 1n, '-250000'],
      [WEEK, '0'],
      [9n * WEEK, '0'],
    ];
    for (const [point, expected] of points)
      expect([point, await at(instant(point))]).toEqual([point, expected]);
    expect(await at(instant(DAY + MOMENT), TWO)).toBe('2000000');
    expect(await at(instant(DAY), 'nobody')).toBe('0');
    expect(await balanceAt(database.pool, ONE, '42', new Date(instant(DAY)))).toBe('0');
  });

  test.each(['UTC', 'Asia/Kolkata', 'America/New_York', 'Pacific/Chatham', 'Europe/London'])(
    'and the fold are the same in a session of time zone %s, whatever its date style',
    async (zone) => {
      const client = await database.pool.connect();
      try {
        for (const style of ['ISO', 'SQL, DMY', 'German', 'Postgres, MDY']) {
          await client.query(
            `begin; set local timezone = '${zone}'; set local datestyle = '${style}'; set local bytea_output = 'escape'`,
          );
          const { rows } = await client.query<{ now: string; before: string }>(
            `select strata.balance_at(strata.account($1), $2, $3)::text as now, strata.balance_at(strata.account($1), $2, $4)::text as before`,
            [ONE, assetOf('seen'), instant(DAY + MOMENT), instant(DAY + MOMENT - 1n)],
          );
          expect([style, rows]).toEqual([style, [{ now: '-500000', before: '1500000' }]]);
          await client.query('select strata.rebuild_balances(strata.account($1), null, $2)', [
            ONE,
            instant(DAY + MOMENT),
          ]);
          for (const check of [
            'verify_rows()',
            'verify_state()',
            'verify_sums()',
            'verify_ledger()',
            'verify_rows(3)',
          ])
            expect((await client.query(`select * from strata.${check}`)).rows).toEqual([]);
          // A late change taken back and put in again, folded in that session.
          await client.query(
            'select strata.take_back_changes(s.source_id, 1, null, $1) from strata.sources s',
            [instant(DAY)],
          );
          await client.query('select strata.fold_deltas()');
          expect((await client.query('select * from strata.verify_rows()')).rows).toEqual([]);
          await client.query('rollback');
        }
      } finally {
        await client.query('rollback');
        client.release();
      }
    },
  );
});
