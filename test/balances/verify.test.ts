/** `verify` finds every kind of planted error and none where there is none; `rebuild` mends them, key by key or all at once. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { rebuildBalances, type RebuildScope } from '../../src/warehouse/rebuild.ts';
import { verifyBalances } from '../../src/warehouse/verify.ts';
import { jsonOf, openFolder, type Folder } from '../cli/command.ts';
import { useBalances } from './database.ts';
import {
  assetOf,
  blocksOf,
  DAY,
  HOUR,
  instant,
  move,
  openStream,
  valueOf,
  verified,
  WEEK,
} from './harness.ts';
import type { Player } from './play.ts';
import { expectExact } from './tables.ts';

const database = useBalances();
const NAME = 'verified';
const ACCOUNT = '0xaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa01';

let stream: Player;
let folder: Folder;
beforeAll(async () => {
  stream = openStream(database.pool, NAME);
  await stream.play(
    blocksOf(
      ...Array.from({ length: 20 }, (_unused, block) => [
        move(0, 1 + (block % 4), 1000 + block, BigInt(block) * 7n * HOUR),
        move(1, 2, block, BigInt(block) * 7n * HOUR + DAY, block % 2),
      ]),
    ),
    0,
  );
  folder = await openFolder();
});
afterAll(() => folder.remove());

const all: RebuildScope = { account: null, assetId: null, from: null };
const ROWS = 'stored but not recomputed';
const MISSING = 'recomputed but not stored';
const STATE = 'state without such a newest balance';
const LOST_STATE = 'newest balance without such a state';

/** What is planted, and the problems that verify must name. */
const PLANTED: readonly (readonly [says: string, sql: string, problems: readonly string[]])[] = [
  [
    'a wrong balance',
    `update strata.account_balances set balance = balance + 1 where (account_address, "timestamp") in (select account_address, min("timestamp") from strata.account_balances group by 1 limit 1)`,
    [ROWS, MISSING],
  ],
  [
    'a wrong count of changes',
    `update strata.account_balances set change_count = change_count + 1 where (account_address, "timestamp") in (select account_address, max("timestamp") from strata.account_balances group by 1 limit 1)`,
    [ROWS, MISSING],
  ],
  [
    'a missing row',
    `delete from strata.account_balances where (account_address, asset_id, "timestamp") in (select account_address, asset_id, min("timestamp") from strata.account_balances group by 1, 2 limit 1)`,
    [MISSING],
  ],
  [
    'an extra row',
    `insert into strata.account_balances select account_address, asset_id, "timestamp" + interval '1 hour', balance, 1 from strata.account_balances where account_address = strata.account('cosmos1abc') order by "timestamp" limit 1`,
    [ROWS],
  ],
  [
    'a wrong state',
    `update strata.account_balances_current set balance = balance - 1 where account_address = strata.account('${ACCOUNT}')`,
    [STATE, LOST_STATE, 'asset does not sum to zero'],
  ],
  [
    'a state of the wrong time',
    `update strata.account_balances_current set "timestamp" = '2020-01-01' where account_address = strata.account('${ACCOUNT}')`,
    [STATE, LOST_STATE],
  ],
  [
    'a missing state',
    `delete from strata.account_balances_current where account_address = strata.account('${ACCOUNT}')`,
    [LOST_STATE, 'asset does not sum to zero'],
  ],
];

const problemsOf = async (): Promise<readonly string[]> => [
  ...new Set((await verified(database.pool)).first.map(({ problem }) => problem)),
];

describe('verify', () => {
  test('finds nothing where all is well, and says what it compared', async () => {
    expect(await verified(database.pool)).toMatchObject({
      differences: 0,
      assets: 2,
      sources: 1,
      one_in: 1,
      first: [],
    });
  });

  test.each(PLANTED)('finds %s, and rebuild mends it', async (_says, plant, problems) => {
    await database.pool.query(plant);
    expect(await problemsOf()).toEqual(problems);
    await rebuildBalances(database.pool, all);
    expect((await verified(database.pool)).differences).toBe(0);
    await expectExact(database.pool);
  });

  test('finds a missing change: in the balances, in the sums, in the ledger', async () => {
    await database.pool.query('create table strata.held (like strata.balance_changes)');
    const { rowCount } = await database.pool.query(
      `with gone as (delete from strata.balance_changes where account_address = strata.account('${ACCOUNT}') and block_num < 4 returning *)
       insert into strata.held select * from gone`,
    );
    const { first, differences } = await verified(database.pool);
    expect(differences).toBeGreaterThan(0);
    expect(first.some(({ problem }) => problem === ROWS)).toBe(true);
    expect(await valueOf(database.pool, 'select count(*)::int from strata.verify_ledger()')).toBe(1);
    expect(
      await valueOf(database.pool, 'select (ledger_rows - stored_rows)::int from strata.verify_ledger()'),
    ).toBe(rowCount);
    await rebuildBalances(database.pool, all);
    expect(await problemsOf()).toEqual(['asset does not sum to zero', 'ledger and table count differently']);
    await database.pool.query('insert into strata.balance_changes select * from strata.held');
    await rebuildBalances(database.pool, all);
    expect((await verified(database.pool)).differences).toBe(0);
  });

  test('exits 1 with the first ten keys, and 0 when all is well', async () => {
    const environment = { DATABASE_URL: database.url };
    await database.pool.query('update strata.account_balances set balance = balance + 1');
    const failed = await folder.run(['verify', '--json'], environment);
    expect(failed.code).toBe(1);
    const report = jsonOf(failed) as Record<string, unknown>;
    expect(report['differences']).toBeGreaterThan(10);
    expect(report['first']).toHaveLength(10);
    expect((report['first'] as readonly object[])[0]).toMatchObject({
      problem: ROWS,
      account: expect.any(String),
      asset_id: expect.any(String),
      timestamp: expect.any(String),
    });
    expect((await folder.run(['rebuild', '--all'], environment)).code).toBe(0);
    const passed = await folder.run(['verify', '--json'], environment);
    expect([passed.code, (jsonOf(passed) as { differences: number }).differences]).toEqual([0, 0]);
    expect((await folder.run(['verify', '--sample', '1/2'], environment)).stdout).toContain(
      'one in 2 accounts',
    );
    expect((await folder.run(['verify', '--sample', 'half'], environment)).code).toBe(2);
  });

  test('of a sample looks at the same accounts each time, and at these alone', async () => {
    const chosen = await valueOf<readonly string[]>(
      database.pool,
      `select array_agg(distinct encode(account_address, 'hex')) from strata.account_balances
        where mod(('x' || substr(md5(account_address), 1, 7))::bit(28)::int, 2) = 0`,
    );
    await database.pool.query('update strata.account_balances set balance = balance + 1');
    const found = await database.pool.query<{ account: string }>(
      `select distinct encode(account_address, 'hex') as account from strata.verify_rows(2) order by 1`,
    );
    expect(found.rows.map(({ account }) => account)).toEqual([...chosen].toSorted());
    expect(found.rows.length).toBeLessThan(5);
    await rebuildBalances(database.pool, all);
    expect((await verifyBalances(database.pool, { oneIn: 2 })).differences).toBe(0);
  });

  test('reads one snapshot while a load goes on', async () => {
    const busy = openStream(database.pool, 'busy', { check: () => Promise.resolve() });
    let loading = true;
    const load = (async () => {
      for (let step = 0; step < 25; step++)
        await busy.play(
          {
            ...blocksOf([move(0, 1 + (step % 4), step, BigInt(step % 9) * HOUR)], [move(1, 2, 1, DAY)]),
            back: step % 2,
          },
          step,
        );
      loading = false;
    })();
    let looks = 0;
    while (loading) {
      expect(await verified(database.pool)).toMatchObject({ differences: 0, first: [] });
      looks += 1;
    }
    await load;
    expect(looks).toBeGreaterThan(2);
    await expectExact(database.pool, 'hour', busy.assets);
  });
});

describe('rebuild', () => {
  const spoil = (where: string): Promise<unknown> =>
    database.pool
      .query(`update strata.account_balances set balance = balance * 3 + 1, change_count = change_count + 1 where ${where};
      update strata.account_balances_current set balance = balance + 5 where ${where.includes('timestamp') ? 'true' : where}`);

  test.each([
    ['an account', { account: ACCOUNT }, `account_address = strata.account('${ACCOUNT}')`],
    ['an account that is text', { account: 'cosmos1abc' }, `account_address = strata.account('cosmos1abc')`],
    ['an asset', { assetId: assetOf(NAME, 'b') }, `asset_id = ${assetOf(NAME, 'b')}`],
    [
      'an account in an asset',
      { account: ACCOUNT, assetId: assetOf(NAME) },
      `account_address = strata.account('${ACCOUNT}') and asset_id = ${assetOf(NAME)}`,
    ],
    ['a span', { from: new Date(instant(2n * DAY + 3n * HOUR)) }, `"timestamp" >= '${instant(2n * DAY)}'`],
    ['everything', {}, 'true'],
  ])('of %s makes exactly that right again', async (_says, scope, where) => {
    const before = await expectExact(database.pool);
    await spoil(where);
    const rows = await rebuildBalances(database.pool, { ...all, ...scope });
    expect(await expectExact(database.pool)).toEqual(before);
    expect(rows).toBe(
      await valueOf(database.pool, `select count(*)::int from strata.account_balances where ${where}`),
    );
  });

  test('waits for a fold in hand, and a fold waits for it: nothing is counted twice', async () => {
    const racing = openStream(database.pool, 'racing', { check: () => Promise.resolve() });
    await racing.play(blocksOf([move(0, 1, 5, WEEK)]), 0);
    const loads = (async () => {
      for (let step = 1; step < 12; step++)
        await racing.play(blocksOf([move(0, 1, step, WEEK + BigInt(step) * HOUR)]), step);
    })();
    for (let times = 0; times < 6; times++) await rebuildBalances(database.pool, all);
    await loads;
    await expectExact(database.pool);
  });

  test('of a warehouse whose fold is deferred leaves to the fold what waits for it', async () => {
    const deferred = openStream(database.pool, 'rebuilt_deferred', {
      fold: 'deferred',
      check: () => Promise.resolve(),
    });
    await deferred.play(blocksOf([move(0, 1, 5, 0n)], [move(1, 2, 2, HOUR)]), 0);
    await rebuildBalances(database.pool, all);
    const source = await valueOf<number>(
      database.pool,
      `select source_id from strata.sources where stream = 'rebuilt_deferred'`,
    );
    for (const partition of [2, 0, 3, 1]) {
      expect((await verified(database.pool)).first).toEqual([]);
      await rebuildBalances(database.pool, all);
      await database.pool.query('select strata.fold_pending($1::smallint, $2)', [source, partition]);
    }
    await expectExact(database.pool, 'hour', deferred.assets);
  });
});
