/** A random history of balances in all its forms: weeks retained away, consolidated and hashed, ledgers and observed balances. */
import type { PoolClient } from 'pg';
import type { Pool } from '../../src/db/query.ts';
import { withClient } from '../../src/db/pool.ts';
import { createRandom, seedWords } from '../../src/devnet/random.ts';
import { assetId, assetIdText } from '../../src/warehouse/assets.ts';
import { SUNDAY } from '../balances/histories.ts';

/** Lengths in microseconds. */
export const HOUR = 3_600_000_000n;
export const DAY = 24n * HOUR;
export const WEEK = 7n * DAY;

/** The first instant of week n of the history. */
export const weekAt = (week: number): bigint => SUNDAY + BigInt(week) * WEEK;

/** Weeks there are, and where what begins: openings stand for the balances before `opened`, changes are kept from `changes` on. */
export const WEEKS = { all: 8, opened: 2, changes: 3, hashed: 5 } as const;

/** What is counted. */
export interface Asset {
  readonly id: string;
  readonly key: string;
  readonly grain: 'hour' | 'day';
  readonly decimals: number;
  readonly observed: boolean;
}

/** A signed change of a ledger, or the value of a snapshot; in the smallest units. */
export interface Event {
  readonly account: string;
  readonly asset: Asset;
  readonly micros: bigint;
  readonly units: bigint;
  /** USD value of a snapshot, in cents. */
  readonly cents: bigint | null;
}

/** A price in hundredths of a cent. */
export interface Price {
  readonly asset: Asset;
  readonly micros: bigint;
  readonly price: bigint;
}

/** All that was put into the warehouse. */
export interface History {
  readonly assets: readonly Asset[];
  readonly accounts: readonly string[];
  readonly events: readonly Event[];
  readonly prices: readonly Price[];
  /** Label of some accounts. */
  readonly labels: ReadonlyMap<string, string>;
}

export const NULL_ACCOUNT = `0x${'00'.repeat(20)}`;
export const BURN_ACCOUNT = `0x${'00'.repeat(18)}dead`;

const assetOf = (key: string, grain: 'hour' | 'day', decimals: number, observed: boolean): Asset => ({
  id: assetIdText(
    assetId({ network: 'tests', standard: observed ? 'activity' : 'erc20', assetKey: key, tokenId: null }),
  ),
  key,
  grain,
  decimals,
  observed,
});

/** The assets: two ledgers, by the hour and by the day; two activities, with USD values and without. */
export const ASSETS = [
  assetOf('coin', 'hour', 6, false),
  assetOf('gold', 'day', 18, false),
  assetOf('holding', 'hour', 0, true),
  assetOf('lending', 'hour', 2, true),
] as const;

const ACCOUNTS = [
  NULL_ACCOUNT,
  BURN_ACCOUNT,
  ...Array.from({ length: 9 }, (_unused, index) => `0x${'ab'.repeat(19)}0${index + 1}`),
  'cosmos1abc',
];

/** Draws a history; the same for the same seed. */
export const drawHistory = (seed: number): History => {
  const random = createRandom(seedWords(`analytics ${seed}`));
  const below = (count: number): number => Math.floor((random.next() / 0x1_0000_0000) * count);
  const span = Number(BigInt(WEEKS.all) * WEEK);
  const instant = (): bigint => SUNDAY + BigInt(below(span));
  /** Accounts that there are by then: some come late, so that there are cohorts. */
  const anyAccount = (micros: bigint): string =>
    ACCOUNTS[below(micros < weekAt(3) ? 7 : micros < weekAt(5) ? 9 : ACCOUNTS.length)]!;
  const events: Event[] = [];
  const [coin, gold, holding, lending] = ASSETS;
  for (let n = 0; n < 400; n++) {
    const asset = n % 4 === 0 ? gold : coin;
    const units =
      BigInt(below(1_000_000)) * (asset === gold ? 10n ** 18n + 7n : 1n) * (below(9) === 0 ? 10n ** 12n : 1n);
    // Edges of periods and weeks, too.
    const micros =
      below(12) === 0 ? weekAt(below(WEEKS.all)) + BigInt(below(3) - 1) * (n === 0 ? 0n : 1n) : instant();
    const from = below(4) === 0 ? NULL_ACCOUNT : anyAccount(micros);
    const to = anyAccount(micros);
    if (micros < SUNDAY) continue;
    events.push(
      { account: to, asset, micros, units, cents: null },
      { account: from, asset, micros, units: -units, cents: null },
    );
    // What was sent comes back whole at times, so that holders leave.
    if (below(3) === 0)
      events.push(
        { account: from, asset, micros: micros + 1n, units, cents: null },
        { account: to, asset, micros: micros + 1n, units: -units, cents: null },
      );
  }
  for (let n = 0; n < 250; n++) {
    const asset = n % 3 === 0 ? lending : holding;
    const micros = instant();
    const account = anyAccount(micros);
    if (account === NULL_ACCOUNT) continue;
    events.push({
      account,
      asset,
      micros,
      units: BigInt(below(5) === 0 ? 0 : below(100_000)),
      cents: asset === holding ? BigInt(below(10_000_000)) : null,
    });
  }
  const end = weekAt(WEEKS.all);
  const prices = [coin, lending].flatMap((asset) =>
    Array.from({ length: 12 }, () => ({ asset, micros: instant(), price: BigInt(below(50_000)) })),
  );
  const labels = new Map(
    ACCOUNTS.slice(2, 8).map((account, index) => [account, index % 2 === 0 ? 'exchange' : "o'dd"]),
  );
  return {
    assets: ASSETS,
    accounts: ACCOUNTS,
    events: events.filter(({ micros }) => micros < end),
    prices: unique(prices),
    labels,
  };
};

const unique = (prices: readonly Price[]): Price[] => [
  ...new Map(prices.map((price) => [`${price.asset.id} ${price.micros}`, price])).values(),
];

/** Text of an instant, with microseconds. */
export const instantOf = (micros: bigint): string =>
  `${new Date(Number(micros / 1000n)).toISOString().slice(0, -1)}${String(micros % 1000n).padStart(3, '0')}Z`;

/** Stores a history week by week, then takes old weeks out and merges others. */
export const storeHistory = (pool: Pool, history: History): Promise<void> =>
  withClient(pool, async (client) => {
    await storeAssets(client, history);
    await storeChanges(
      client,
      history.events.filter(({ asset }) => !asset.observed),
    );
    await storeSnapshots(
      client,
      history.events.filter(({ asset }) => asset.observed),
    );
    for (let week = WEEKS.opened; week < WEEKS.hashed && !(await isCluster(client)); week++)
      for (const set of ['account_balances', 'balance_changes'])
        await client.query(`select strata.consolidate_week($1, strata.week_key($2))`, [
          set,
          instantOf(weekAt(week)),
        ]);
    await client.query('select strata.carry_forward_openings($1)', [instantOf(weekAt(WEEKS.opened))]);
    await client.query('select strata.note_changes_dropped($1)', [instantOf(weekAt(WEEKS.changes))]);
    await dropWeeks(client, 'account_balances', WEEKS.opened);
    await dropWeeks(client, 'balance_changes', WEEKS.changes);
    await client.query('analyze');
  });

/** On a cluster nothing is consolidated, and weeks are not folded one by one. */
const isCluster = async (client: PoolClient): Promise<boolean> =>
  (await client.query<{ topology: string }>('select strata.topology()')).rows[0]?.topology === 'citus';

const storeAssets = async (client: PoolClient, { assets, prices, labels }: History): Promise<void> => {
  for (const { id, key, grain, decimals, observed } of assets)
    await client.query(
      `insert into strata.assets (asset_id, network, standard, asset_key, decimals, grain, observed, zero_sum)
       values ($1, 'tests', $2, $3, $4, $5, $6, not $6)`,
      [id, observed ? 'activity' : 'erc20', key, decimals, grain, observed],
    );
  await client.query(
    `insert into strata.prices (asset_id, priced_at, usd) select * from unnest($1::bigint[], $2::timestamptz[], $3::numeric[])`,
    [
      prices.map(({ asset }) => asset.id),
      prices.map(({ micros }) => instantOf(micros)),
      prices.map(({ price }) => `${price}e-4`),
    ],
  );
  await client.query(`create table strata.labels_kinds (account_address bytea primary key, kind text)`);
  await client.query(
    `insert into strata.labels_kinds select strata.account(a), k from unnest($1::text[], $2::text[]) u (a, k)`,
    [[...labels.keys()], [...labels.values()]],
  );
  await client.query(
    `insert into strata.labels (label_name, key_header, columns, row_count, source_file, sha256)
     values ('kinds', 'address', '[{"name": "kind", "type": "text", "header": "kind"}]', 6, 'kinds.csv', '')`,
  );
};

const storeChanges = async (client: PoolClient, changes: readonly Event[]): Promise<void> => {
  for (let week = 0; week < WEEKS.all; week++) {
    const at = instantOf(weekAt(week));
    await client.query(`select strata.ensure_weeks('balance_changes', $1, $1)`, [at]);
  }
  await client.query(
    `insert into strata.balance_changes
     select strata.account(u.account), u.asset, u.at, u.block, u.block, 1, u.delta
       from unnest($1::text[], $2::bigint[], $3::timestamptz[], $4::bigint[], $5::numeric[]) u (account, asset, at, block, delta)`,
    [
      changes.map(({ account }) => account),
      changes.map(({ asset }) => asset.id),
      changes.map(({ micros }) => instantOf(micros)),
      changes.map((_unused, index) => index),
      changes.map(({ units }) => String(units)),
    ],
  );
  if (await isCluster(client)) {
    await client.query(`select strata.ensure_weeks('account_balances', $1, $2)`, [
      instantOf(weekAt(0)),
      instantOf(weekAt(WEEKS.all) - 1n),
    ]);
    await client.query('select strata.rebuild_balances()');
    return;
  }
  for (let week = 0; week < WEEKS.all; week++)
    await client.query('select strata.fold_week($1)', [instantOf(weekAt(week))]);
};

const storeSnapshots = async (client: PoolClient, snapshots: readonly Event[]): Promise<void> => {
  await client.query(`select strata.ensure_weeks('snapshot_rows', $1, $2)`, [
    instantOf(weekAt(0)),
    instantOf(weekAt(WEEKS.all) - 1n),
  ]);
  await client.query('begin');
  await client.query('select strata.open_snapshots()');
  await client.query(
    `insert into pg_temp.snapshot_stage
     select strata.account(u.account), u.asset, u.at, u.block, u.block, 1, u.balance, u.cents / 100.0, null
       from unnest($1::text[], $2::bigint[], $3::timestamptz[], $4::bigint[], $5::numeric[], $6::numeric[]) u (account, asset, at, block, balance, cents)`,
    [
      snapshots.map(({ account }) => account),
      snapshots.map(({ asset }) => asset.id),
      snapshots.map(({ micros }) => instantOf(micros)),
      snapshots.map((_unused, index) => index),
      snapshots.map(({ units }) => String(units)),
      snapshots.map(({ cents }) => (cents === null ? null : String(cents))),
    ],
  );
  await client.query(`select strata.store_snapshots('hour')`);
  await client.query(`select strata.fold_snapshots('hour', false)`);
  await client.query('commit');
};

const dropWeeks = async (client: PoolClient, set: string, week: number): Promise<void> => {
  const { rows } = await client.query<{ partition: string }>(
    'select partition::text from strata.set_partitions($1) where upper_bound <= $2',
    [set, instantOf(weekAt(week))],
  );
  for (const { partition } of rows) {
    await client.query(`alter table strata.${set} detach partition ${partition}`);
    await client.query(`drop table ${partition}`);
  }
};
