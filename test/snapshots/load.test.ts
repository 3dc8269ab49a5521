/** Snapshots from a Flight server into balances: mappings, edges of weeks and periods, late ones, reorgs. */
import { Field, Float64, Int64, Struct, TimestampNanosecond, Uint64, Utf8 } from 'apache-arrow';
import type { RecordBatch } from 'apache-arrow';
import { describe, expect, test } from 'vitest';
import { balanceAt, rebuildBalances } from '../../src/warehouse/rebuild.ts';
import { verifyBalances } from '../../src/warehouse/verify.ts';
import { useDatabase } from '../database.ts';
import { failureOf } from '../flight/collect.ts';
import { expectSame, ledgerOf } from '../jobs/oracle.ts';
import { batchOf, microbatch, rangeOf } from '../jobs/scripted-server.ts';
import { at, HOUR_US, SUNDAY_US, useSnapshots } from './loading.ts';
import { expectedRows, expectedState, observationBatch, storedRows, storedState } from './observations.ts';
import type { Observation } from './observations.ts';

const database = useDatabase();
const { run } = useSnapshots(database);

const loadedAs = (rows: readonly Observation[]) =>
  rows.map((row, ordinal) => ({ ...row, ordinal, source: 1 }));

describe('balances', () => {
  test('are the latest snapshot of their period, to the edges of hour and week', async () => {
    const rows = [
      at(SUNDAY_US - 1n, '3'),
      at(SUNDAY_US, '4'),
      at(SUNDAY_US + HOUR_US - 1n, '6', { usd: '0.5', data: '{"tier": "gold"}' }),
      at(SUNDAY_US + 1n, '5'),
      at(SUNDAY_US + HOUR_US, '7'),
      at(SUNDAY_US - HOUR_US, '2', { account: '0x00000000000000000000000000000000000000AA' }),
    ];
    const result = await run('edges', 0, microbatch([rangeOf(0, 0)], observationBatch(rows)));
    expect(result).toMatchObject({ end: 'complete', rows: 6, quarantined: 0 });
    const known = loadedAs(rows.map((row) => ({ ...row, account: row.account.toLowerCase() })));
    expectSame(
      await storedRows(database.pool, 'edges'),
      expectedRows(known, { grain: 'hour', onlyChanges: false }),
    );
    expectSame(await storedState(database.pool, 'edges'), expectedState(known, 'hour'));
    expect(await ledgerOf(database.pool, 'edges', 'scripted')).toMatchObject([{ rows: 6, quarantined: 0 }]);
    const { rows: weeks } = await database.pool.query(
      `select tableoid::regclass::text like '%_2026_01_04_%' as new_week, count(*)::int from strata.account_balances group by 1 order by 1`,
    );
    expect(weeks).toEqual([
      { new_week: false, count: 2 },
      { new_week: true, count: 2 },
    ]);
  });

  test.each([false, true])(
    'that were lost, altered or made up are derived again by a rebuild, only changes stored: %s',
    async (onlyChanges) => {
      const stream = onlyChanges ? 'mended_changes' : 'mended';
      const rows = [0n, 1n, 2n, 3n, 400n].map((hours) =>
        at(SUNDAY_US + hours * HOUR_US, hours < 2n ? '5' : '6'),
      );
      await run(stream, 0, microbatch([rangeOf(0, 0)], observationBatch(rows)), {
        only_changes: onlyChanges,
      });
      const [before, state] = [
        await storedRows(database.pool, stream),
        await storedState(database.pool, stream),
      ];
      expect(before).toHaveLength(onlyChanges ? 2 : 5);
      const mine = `asset_id in (select asset_id from strata.assets where standard = '${stream}')`;
      await database.pool.query(`
        update strata.account_balances set balance = 99 where ${mine} and balance = 6;
        insert into strata.account_balances (account_address, asset_id, "timestamp", balance, change_count)
          select account_address, asset_id, "timestamp" + interval '30 hours', 7, 0 from strata.account_balances where ${mine} limit 1;
        delete from strata.account_balances where ${mine} and balance = 5;
        update strata.account_balances_current set balance = 1 where ${mine}`);
      expect((await verifyBalances(database.pool, { oneIn: 1 })).differences).toBeGreaterThan(0);
      await rebuildBalances(database.pool, { account: null, assetId: null, from: null });
      expect((await verifyBalances(database.pool, { oneIn: 1 })).differences).toBe(0);
      expect(await storedRows(database.pool, stream)).toEqual(before);
      expect(await storedState(database.pool, stream)).toEqual(state);
    },
  );

  test('read back exactly at any instant, and stay when balances are rebuilt', async () => {
    const rows = [at(SUNDAY_US + 10n, '1'), at(SUNDAY_US + 20n, '2'), at(SUNDAY_US + 3n * HOUR_US, '3')];
    await run('instants', 0, microbatch([rangeOf(0, 0)], observationBatch(rows)));
    const { rows: assets } = await database.pool.query<{ id: string }>(
      `select asset_id::text as id from strata.assets where standard = 'instants'`,
    );
    const id = assets[0]!.id;
    const readAt = async (micros: bigint): Promise<string> => {
      const { rows: read } = await database.pool.query<{ balance: string }>(
        `select strata.balance_at('ann', $1, 'epoch'::timestamptz + $2::bigint * interval '1 microsecond')::text as balance`,
        [id, String(SUNDAY_US + micros)],
      );
      return read[0]!.balance;
    };
    const reads = async () =>
      Promise.all([9n, 10n, 19n, 20n, HOUR_US, 3n * HOUR_US - 1n, 3n * HOUR_US].map(readAt));
    expect(await reads()).toEqual(['0', '1', '1', '2', '2', '2', '3']);
    const before = await storedRows(database.pool, 'instants');
    for (const scope of [
      { assetId: id, account: null },
      { assetId: null, account: 'ann' },
      { assetId: null, account: null },
    ])
      await rebuildBalances(database.pool, { ...scope, from: null });
    expect(await storedRows(database.pool, 'instants')).toEqual(before);
    expect(await reads()).toEqual(['0', '1', '1', '2', '2', '2', '3']);
    expect(await balanceAt(database.pool, 'ann', id, new Date('2026-01-20'))).toBe('3');
  });

  test('of quiet accounts are stored once with only_changes; a late one makes the next ones needed again', async () => {
    const hourly = Array.from({ length: 48 }, (_, hour) =>
      at(SUNDAY_US + BigInt(hour) * HOUR_US, '5', { usd: '1.0', block: hour }),
    );
    const late = at(SUNDAY_US + 10n * HOUR_US + 1n, '6', { usd: '1', block: 48 });
    const unlate = at(SUNDAY_US + 10n * HOUR_US + 2n, '5', { usd: '1', block: 49 });
    const settings = { only_changes: true };
    await run('quiet', 47, microbatch([rangeOf(0, 47)], observationBatch(hourly)), settings);
    expect(await storedRows(database.pool, 'quiet')).toEqual([
      `ann holding ${SUNDAY_US / 1_000_000n} 5 1.0 -`,
    ]);
    await run('quiet', 48, microbatch([rangeOf(48, 48)], observationBatch([late])), settings);
    expect(await storedRows(database.pool, 'quiet')).toHaveLength(3);
    await run('quiet', 49, microbatch([rangeOf(49, 49)], observationBatch([unlate])), settings);
    expect(await storedRows(database.pool, 'quiet')).toEqual([
      `ann holding ${SUNDAY_US / 1_000_000n} 5 1.0 -`,
    ]);
  });

  test('follow a reorg: what a dropped block had overwritten comes back', async () => {
    const steps = [
      ...microbatch(
        [rangeOf(0, 1)],
        observationBatch([at(SUNDAY_US, '1'), at(SUNDAY_US + 1n, '2', { block: 1 })]),
      ),
      ...microbatch(
        [rangeOf(2, 3)],
        observationBatch([
          at(SUNDAY_US + 2n, '3', { block: 2 }),
          at(SUNDAY_US + HOUR_US, '4', { block: 3, account: 'bob' }),
        ]),
      ),
      ...microbatch(
        [rangeOf(1, 4, 'b', 'a')],
        observationBatch([at(SUNDAY_US + HOUR_US, '9', { block: 4, asset: 'staking' })]),
      ),
    ];
    const result = await run('forked', 4, steps, { commit_rows: 1 });
    expect(result).toMatchObject({ reorgs: 1 });
    expectSame(await storedState(database.pool, 'forked'), ['ann holding 1', 'ann staking 9']);
    expectSame(
      (await ledgerOf(database.pool, 'forked', 'scripted')).map(
        ({ start, end, rows }) => `${start}–${end}: ${rows}`,
      ),
      ['0–0: 1', '1–4: 1'],
    );
  });
});

/** A batch of one snapshot with columns of any type. */
const oddBatch = (columns: Parameters<typeof batchOf>[0]): RecordBatch =>
  batchOf({
    _block_num: { type: new Uint64(), values: [0n] },
    timestamp: { type: new TimestampNanosecond('UTC'), values: [Number(SUNDAY_US / 1000n)] },
    account: { type: new Utf8(), values: ['ann'] },
    activity: { type: new Utf8(), values: ['holding'] },
    ...columns,
  });

describe('columns', () => {
  test('may carry a usd value and no balance: then that is the balance; structs become jsonb', async () => {
    const tier = new Struct([new Field('tier', new Utf8()), new Field('points', new Int64())]);
    const batch = oddBatch({
      usd_value: { type: new Utf8(), values: ['12.50'] },
      data: { type: tier, values: [{ tier: 'gold', points: 9_007_199_254_740_993n }] },
    });
    await run('usd_only', 0, microbatch([rangeOf(0, 0)], batch));
    expect(await storedRows(database.pool, 'usd_only')).toEqual([
      `ann holding ${SUNDAY_US / 1_000_000n} 12.50 12.50 {"tier": "gold", "points": 9007199254740993}`,
    ]);
  });

  test('are named by the configuration, by the day, from a server without blocks', async () => {
    const batch = batchOf({
      at: {
        type: new TimestampNanosecond('UTC'),
        values: [0n, 1n].map((hour) => Number((SUNDAY_US + hour * HOUR_US) / 1000n)),
      },
      who: { type: new Utf8(), values: ['ann', 'ann'] },
      what: { type: new Utf8(), values: ['holding', 'holding'] },
      much: { type: new Int64(), values: [1n, 2n] },
    });
    const settings = { time: 'at', account: 'who', asset: 'what', balance: 'much', grain: 'day' };
    const result = await run('plain', 0, [{ batch }], settings, { kind: 'flight-sql' });
    expect(result).toMatchObject({ end: 'complete', rows: 2 });
    expect(await storedRows(database.pool, 'plain')).toEqual([`ann holding ${SUNDAY_US / 1_000_000n} 2 - -`]);
  });

  test.each([
    [
      'that are missing',
      { usd: { type: new Utf8(), values: ['1'] } },
      { usd_value: 'usdd', data: 'json' },
      'config',
      /no column usdd, json/,
    ],
    ['without balance and usd value', {}, {}, 'config', /neither a balance nor a usd value/],
    [
      'with floats',
      { usd_value: { type: new Float64(), values: [0.1] } },
      {},
      'data',
      /"usd_value" is Float64 and cannot become numeric/,
    ],
  ] as const)('%s are refused before anything is loaded', async (name, columns, settings, kind, says) => {
    const failure = await failureOf(
      run(`no ${name}`.replaceAll(' ', '_'), 0, microbatch([rangeOf(0, 0)], oddBatch(columns)), settings),
    );
    expect(failure).toMatchObject({ kind });
    expect(failure.message).toMatch(says);
  });
});
