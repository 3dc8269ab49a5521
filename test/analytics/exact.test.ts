/** Every analytics function against the oracle, over openings, consolidated and hashed weeks, in two time zones. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { PoolClient } from 'pg';
import { decimal } from '../balances/oracle.ts';
import { useDatabase } from '../database.ts';
import { seed } from '../seed.ts';
import { ask } from './asking.ts';
import {
  ASSETS,
  DAY,
  drawHistory,
  HOUR,
  instantOf,
  storeHistory,
  WEEK,
  weekAt,
  WEEKS,
  type Asset,
} from './history.ts';
import {
  amount,
  balanceAt,
  balanceBefore,
  concentration,
  holdersAt,
  isBurn,
  periodsOf,
  ratio,
  rowsOf,
  startOf,
  timeWeighted,
  type Row,
  type Unit,
} from './oracle.ts';

const database = useDatabase();
const SEED = seed();
const history = drawHistory(SEED);
const { accounts } = history;
const [coin, gold, holding, lending] = ASSETS;
const END = weekAt(WEEKS.all);
/** Before changes are retained, at the edges of weeks and periods, within a period, and after the end. */
const INSTANTS = [
  weekAt(WEEKS.opened),
  weekAt(WEEKS.opened) + 3n * DAY + 30n * 60_000_000n,
  weekAt(WEEKS.changes) - 1n,
  weekAt(WEEKS.changes),
  weekAt(WEEKS.hashed) + 2n * DAY + 12n * HOUR + 1n,
  END - 1n,
  END + WEEK,
];
/** A span over all kinds of weeks, and one that begins and ends within periods. */
const SPANS: readonly (readonly [from: bigint, to: bigint])[] = [
  [weekAt(WEEKS.opened), END],
  [weekAt(WEEKS.changes) + 5n * HOUR + 7n, END - 2n * DAY - 1n],
];
const UNITS: readonly Unit[] = ['day', 'week', 'month'];

beforeAll(async () => {
  await storeHistory(database.pool, history);
  console.log(`analytics history of seed ${SEED}`);
});

describe.each(['UTC', 'Pacific/Chatham'])('in a session of time zone %s', (zone) => {
  let client: PoolClient;
  beforeAll(async () => {
    client = await database.pool.connect();
    await client.query(`select set_config('timezone', $1, false)`, [zone]);
    await client.query(`set datestyle = 'ISO, DMY'; set bytea_output = 'escape'`);
  });
  afterAll(async () => {
    await client.query('discard all');
    client.release(true);
  });

  /** Rows of an account in an asset. */
  const of = (asset: Asset, account: string): Row[] => rowsOf(history, asset, account);
  const all = (asset: Asset): Row[] => accounts.flatMap((account) => of(asset, account));
  const held = (asset: Asset): Row[] => all(asset).filter(({ account }) => !isBurn(account));
  const from = (start: bigint): bigint => (start < weekAt(WEEKS.opened) ? weekAt(WEEKS.opened) : start);
  const spans = (assets: readonly Asset[], units = UNITS): [Asset, bigint, bigint, Unit][] =>
    assets.flatMap((asset) =>
      SPANS.flatMap(([a, b]) => units.map((unit) => [asset, a, b, unit] as [Asset, bigint, bigint, Unit])),
    );

  test.each(INSTANTS)('balances at %s', async (instant) => {
    const expected = accounts
      .flatMap((account) =>
        ASSETS.map((asset) => ({
          account,
          asset: asset.id,
          balance: balanceAt(history, asset, account, instant),
        })),
      )
      .filter(({ balance }) => balance !== 0n)
      .map((row) => ({ ...row, balance: String(row.balance) }));
    const sorted = (rows: readonly object[]): string[] =>
      rows.map((row) => JSON.stringify(Object.values(row))).toSorted();
    const select = `select account_address as account, asset_id::text as asset, balance from strata.balances_at`;
    expect(sorted(await ask(client, `${select}($1)`, [instantOf(instant)]))).toEqual(sorted(expected));
    expect(sorted(await ask(client, `${select}($1, $2)`, [instantOf(instant), coin.id]))).toEqual(
      sorted(expected.filter(({ asset }) => asset === coin.id)),
    );
    for (const account of [accounts[0]!, accounts[4]!, 'nobody'])
      expect(
        sorted(await ask(client, `${select}($1, null, strata.account($2))`, [instantOf(instant), account])),
      ).toEqual(sorted(expected.filter((row) => row.account === account)));
    if (instant > END) expect(sorted(await ask(client, `${select}()`))).toEqual(sorted(expected));
  });

  test('top holders, concentration and size bands', async () => {
    for (const asset of ASSETS) {
      for (const instant of INSTANTS) {
        const at = instantOf(instant);
        const holders = holdersAt(history, asset, instant);
        const total = holders.reduce((sum, { balance }) => sum + balance, 0n);
        expect(await ask(client, 'select * from strata.top_holders($1, $2, 4)', [asset.id, at])).toEqual(
          holders.slice(0, 4).map(({ account, balance }) => ({
            rank: 1 + holders.filter((other) => other.balance > balance).length,
            account_address: account,
            amount: amount(asset, balance),
            balance: String(balance),
            share: ratio(balance, total),
          })),
        );
        expect(await ask(client, 'select * from strata.concentration($1, $2, 3)', [asset.id, at])).toEqual([
          concentration(history, asset, instant, 3),
        ]);
        const edges = [1n, 1000n, 1_000_000n].map((edge) => edge * 10n ** BigInt(asset.decimals));
        expect(
          await ask(client, `select * from strata.size_bands($1, $2, '{1000,1,1000000,1}')`, [asset.id, at]),
        ).toEqual(
          [0n, ...edges].map((edge, band) => {
            const inside = holders.filter(
              ({ balance }) => balance >= edge && balance < (edges[band] ?? balance + 1n),
            );
            const sum = inside.reduce((part, { balance }) => part + balance, 0n);
            return {
              band,
              from_amount: amount(asset, edge),
              to_amount: edges[band] === undefined ? null : amount(asset, edges[band]),
              holders: inside.length,
              amount: amount(asset, sum),
              share: ratio(sum, total),
            };
          }),
        );
      }
    }
  });

  test('history, forward-filled', async () => {
    for (const [asset, a, b, unit] of [...spans(ASSETS), ...spans([coin], ['hour']).slice(1)]) {
      for (const account of [accounts[0]!, accounts[5]!, accounts[11]!]) {
        const rows = of(asset, account);
        expect(
          await ask(
            client,
            'select period, balance, change_count from strata.balance_series(strata.account($1), $2, $3, $4, $5)',
            [account, asset.id, instantOf(a), instantOf(b), unit],
          ),
        ).toEqual(
          periodsOf(unit, a, b).map(({ start, end }) => ({
            period: start,
            balance: String(balanceBefore(rows, end)),
            change_count: rows
              .filter(({ at }) => at >= from(start) && at < end)
              .reduce((sum, { changes }) => sum + changes, 0),
          })),
        );
      }
    }
  });

  test('holders over time', async () => {
    for (const [asset, a, b, unit] of spans(ASSETS)) {
      const rows = held(asset);
      const first = from(startOf(unit, a));
      expect(
        await ask(client, 'select * from strata.holders_over_time($1, $2, $3, $4)', [
          asset.id,
          instantOf(a),
          instantOf(b),
          unit,
        ]),
      ).toEqual(
        periodsOf(unit, a, b).map(({ start, end }) => ({
          period: start,
          entered: rows.filter(
            ({ at, balance, prior }) => at >= first && at >= start && at < end && balance > 0n && prior <= 0n,
          ).length,
          left_again: rows.filter(
            ({ at, balance, prior }) => at >= first && at >= start && at < end && balance <= 0n && prior > 0n,
          ).length,
          holders: accounts.filter(
            (account) => !isBurn(account) && balanceBefore(of(asset, account), end) > 0n,
          ).length,
        })),
      );
    }
  });

  test('cohorts', async () => {
    // Only an asset whose accounts arrive within the span has cohorts at all.
    for (const [asset, a, b, unit] of spans([gold, lending], ['day', 'week'])) {
      const first = from(startOf(unit, a));
      const periods = periodsOf(unit, a, b);
      const fresh = accounts.filter(
        (account) => !isBurn(account) && !of(asset, account).some(({ at }) => at < first),
      );
      const active = (account: string, { start, end }: { start: bigint; end: bigint }): boolean =>
        of(asset, account).some(({ at }) => at >= start && at < end);
      const expected = periods.flatMap((cohort, place) => {
        const members = fresh.filter(
          (account) => periods.find((period) => active(account, period)) === cohort,
        );
        if (members.length === 0) return [];
        return periods.slice(place).map((period, age) => {
          const moved = members.filter((account) => active(account, period)).length;
          const holding = members.filter(
            (account) => balanceBefore(of(asset, account), period.end) > 0n,
          ).length;
          return {
            cohort: cohort.start,
            age,
            period: period.start,
            accounts: members.length,
            active: moved,
            holding,
            active_share: ratio(BigInt(moved), BigInt(members.length)),
            holding_share: ratio(BigInt(holding), BigInt(members.length)),
          };
        });
      });
      expect(expected).not.toEqual([]);
      expect(
        await ask(client, 'select * from strata.cohorts($1, $2, $3, $4)', [
          asset.id,
          instantOf(a),
          instantOf(b),
          unit,
        ]),
      ).toEqual(expected);
    }
  });

  test('active accounts', async () => {
    for (const asset of [null, coin, holding]) {
      for (const [, a, b, unit] of spans([coin])) {
        const rows = (asset === null ? ASSETS : [asset]).flatMap(held);
        expect(
          await ask(client, 'select * from strata.active_accounts($1, $2, $3, $4)', [
            instantOf(a),
            instantOf(b),
            unit,
            asset?.id ?? null,
          ]),
        ).toEqual(
          periodsOf(unit, a, b).map(({ start, end }) => {
            const within = rows.filter(({ at }) => at >= from(start) && at < end);
            return {
              period: start,
              active: new Set(within.map(({ account }) => account)).size,
              changes: within.reduce((sum, { changes }) => sum + changes, 0),
            };
          }),
        );
      }
    }
  });

  /** Signed movements: changes of a ledger, differences of observed balances. */
  const movements = (asset: Asset, a: bigint, b: bigint): { account: string; at: bigint; delta: bigint }[] =>
    asset.observed
      ? all(asset)
          .filter(({ at }) => at >= a && at < b)
          .map(({ account, at, balance, prior }) => ({ account, at, delta: balance - prior }))
      : history.events
          .filter((event) => event.asset === asset && event.micros >= a && event.micros < b)
          .map(({ account, micros, units }) => ({ account, at: micros, delta: units }));
  const flow = (asset: Asset, moves: readonly { account: string; delta: bigint }[]): object => {
    const inflow = moves.reduce((sum, { delta }) => sum + (delta > 0n ? delta : 0n), 0n);
    const outflow = moves.reduce((sum, { delta }) => sum - (delta < 0n ? delta : 0n), 0n);
    return {
      inflow: amount(asset, inflow),
      outflow: amount(asset, outflow),
      gross: amount(asset, inflow + outflow),
      net: amount(asset, inflow - outflow),
      accounts: new Set(moves.map(({ account }) => account)).size,
    };
  };

  test('flows by asset and by label', async () => {
    const a = weekAt(WEEKS.changes) + 5n * HOUR + 7n;
    const b = END - 2n * DAY;
    for (const unit of UNITS) {
      const expected = ASSETS.flatMap((asset) =>
        [
          ...Map.groupBy(
            movements(asset, a, b).filter(({ account }) => !isBurn(account)),
            ({ at }) => startOf(unit, at),
          ),
        ].map(([period, moves]) => ({
          period,
          asset: asset.id,
          ...flow(asset, moves),
          changes: moves.length,
        })),
      );
      const sorted = (rows: readonly object[]): string[] =>
        rows.map((row) => Object.values(row).join(' ')).toSorted();
      expect(
        sorted(
          await ask(
            client,
            `select period, asset_id::text as asset, inflow, outflow, gross, net, accounts, changes from strata.asset_flows($1, $2, $3)`,
            [instantOf(a), instantOf(b), unit],
          ),
        ),
      ).toEqual(sorted(expected));
      for (const asset of [coin, holding]) {
        const byLabel = Map.groupBy(
          movements(asset, a, b).filter(({ account }) => !isBurn(account)),
          ({ account, at }) => `${startOf(unit, at)} ${history.labels.get(account) ?? 'null'}`,
        );
        const rows = await ask(
          client,
          `select period, label, inflow, outflow, gross, net, accounts from strata.label_flows('kinds', 'kind', $1, $2, $3, $4)`,
          [asset.id, instantOf(a), instantOf(b), unit],
        );
        expect(
          sorted(
            rows.map(({ period, label, ...rest }) => ({
              key: `${String(period)} ${String(label)}`,
              ...rest,
            })),
          ),
        ).toEqual(sorted([...byLabel].map(([key, moves]) => ({ key, ...flow(asset, moves) }))));
      }
    }
  });

  test('supply, mint and burn', async () => {
    for (const [asset, a, b, unit] of spans(ASSETS)) {
      const first = from(startOf(unit, a));
      const traced = !asset.observed && first >= weekAt(WEEKS.changes);
      const minted = (start: bigint, end: bigint, sign: 1n | -1n): string =>
        amount(
          asset,
          movements(asset, start < first ? first : start, end)
            .filter(({ account, delta }) => account === accounts[0] && delta * sign < 0n)
            .reduce((sum, { delta }) => sum - delta * sign, 0n),
        );
      const total = (end: bigint, without: (account: string) => boolean): string =>
        amount(
          asset,
          accounts
            .filter((account) => !without(account))
            .reduce((sum, account) => sum + balanceBefore(of(asset, account), end), 0n),
        );
      expect(
        await ask(client, 'select * from strata.supply($1, $2, $3, $4)', [
          asset.id,
          instantOf(a),
          instantOf(b),
          unit,
        ]),
      ).toEqual(
        periodsOf(unit, a, b).map(({ start, end }) => ({
          period: start,
          supply: total(end, (account) => account === accounts[0]),
          minted: traced ? minted(start, end, 1n) : null,
          burned: traced ? minted(start, end, -1n) : null,
          circulating: total(end, isBurn),
        })),
      );
    }
  });

  test('time-weighted balances', async () => {
    for (const asset of ASSETS) {
      for (const [a, b] of SPANS) {
        const expected = accounts
          .filter((account) => !isBurn(account))
          .flatMap((account) => {
            const weighted = timeWeighted(history, asset, account, a, b);
            return weighted === undefined ? [] : [{ account_address: account, ...weighted }];
          })
          .toSorted((x, y) =>
            x.sort === y.sort ? (x.account_address < y.account_address ? -1 : 1) : x.sort > y.sort ? -1 : 1,
          )
          .map(({ sort: _sort, ...row }) => row);
        const found = await ask(client, 'select * from strata.time_weighted_balances($1, $2, $3)', [
          asset.id,
          instantOf(a),
          instantOf(b),
        ]);
        const byAccount = (rows: readonly Record<string, unknown>[]): unknown =>
          Object.fromEntries(rows.map((row) => [row['account_address'], row]));
        expect(byAccount(found)).toEqual(byAccount(expected));
        expect(found.map((row) => row['average'])).toEqual(expected.map((row) => row.average));
        const one = accounts[6]!;
        expect(
          await ask(client, 'select * from strata.time_weighted_balances($1, $2, $3, strata.account($4))', [
            asset.id,
            instantOf(a),
            instantOf(b),
            one,
          ]),
        ).toEqual(expected.filter((row) => row.account_address === one));
      }
    }
  });

  test('change over 24 hours, 7 days and 30 days', async () => {
    const instant = END - 1n;
    const before = [0n, DAY, 7n * DAY, 30n * DAY].map((back) => instant - back);
    for (const asset of ASSETS) {
      const expected = accounts
        .filter((account) => !isBurn(account))
        .map((account) => [account, ...before.map((at) => balanceAt(history, asset, account, at))] as const)
        .filter(([, ...balances]) => balances.some((balance) => balance !== 0n))
        .map(([account, now, day, week, month]) =>
          [
            account,
            amount(asset, now!),
            amount(asset, now! - day!),
            amount(asset, now! - week!),
            amount(asset, now! - month!),
          ].join(' '),
        );
      for (const text of ['null', 'strata.account($3)']) {
        const one = text === 'null' ? [] : [accounts[7]];
        const rows = await ask(
          client,
          `select account_address, amount, change_24h, change_7d, change_30d from strata.balance_change($1, $2, ${text})`,
          [instantOf(instant), asset.id, ...one],
        );
        expect(rows.map((row) => Object.values(row).join(' ')).toSorted()).toEqual(
          expected.filter((line) => one.length === 0 || line.startsWith(one[0]!)).toSorted(),
        );
      }
    }
    await expect(client.query('select * from strata.balance_change()')).rejects.toThrow(
      /neither an account nor an asset/,
    );
  });

  test('portfolio with as-of prices', async () => {
    const maxAge = 3n * DAY;
    for (const instant of INSTANTS.slice(1)) {
      const account = accounts[8]!;
      const expected = ASSETS.flatMap((asset) => {
        const balance = balanceAt(history, asset, account, instant);
        if (balance === 0n) return [];
        const price = history.prices
          .filter((candidate) => candidate.asset === asset && candidate.micros <= instant)
          .toSorted((x, y) => (x.micros < y.micros ? 1 : -1))[0];
        const status =
          price === undefined ? 'unpriced' : price.micros >= instant - maxAge ? 'priced' : 'stale';
        const value = status === 'priced' ? decimal(balance * price!.price, asset.decimals + 4) : null;
        return [
          [
            asset.key,
            amount(asset, balance),
            price === undefined ? null : decimal(price.price, 4),
            value,
            status,
          ].join(' '),
        ];
      });
      const rows = await ask(
        client,
        `select asset, amount, price, usd_value, status from strata.portfolio_at(strata.account($1), $2, '3 days')`,
        [account, instantOf(instant)],
      );
      expect(rows.map((row) => Object.values(row).join(' ')).toSorted()).toEqual(expected.toSorted());
    }
  });

  test('activity points', async () => {
    for (const [a, b] of SPANS) {
      const averages = new Map<string, { asset: Asset; usd: bigint; valued: string | null }[]>();
      for (const asset of [holding, lending]) {
        for (const account of accounts.filter((one) => !isBurn(one))) {
          const rows = of(asset, account);
          const opening = rows.findLast(({ at }) => at < a);
          const steps = [
            ...(opening === undefined ? [] : [opening]),
            ...rows.filter(({ at }) => at >= a && at < b),
          ];
          if (steps.length === 0) continue;
          // Values in 10^-4 of a USD and the asset's decimals.
          const value = (row: Row): bigint | null => {
            const isOpening = row.at < weekAt(WEEKS.opened);
            if (row.cents !== null && !isOpening) return row.cents * 100n * 10n ** BigInt(asset.decimals);
            const price = history.prices
              .filter((candidate) => candidate.asset === asset && candidate.micros <= row.at)
              .toSorted((x, y) => (x.micros < y.micros ? 1 : -1))[0];
            return price === undefined ? null : row.balance * price.price;
          };
          const seconds = steps.map((row, index) => (steps[index + 1]?.at ?? b) - (row.at < a ? a : row.at));
          const total = steps.reduce((sum, row, index) => sum + (value(row) ?? 0n) * seconds[index]!, 0n);
          const known = steps.reduce(
            (sum, row, index) => sum + (value(row) === null ? 0n : seconds[index]!),
            0n,
          );
          const own = averages.get(account) ?? [];
          own.push({
            asset,
            usd: (total * 10n ** 18n) / (10n ** BigInt(4 + asset.decimals) * (b - a)),
            valued: ratio(
              known,
              seconds.reduce((sum, part) => sum + part, 0n),
            ),
          });
          averages.set(account, own);
        }
      }
      // 0.5 at 0, 1.5 at 20,000, level beyond.
      const expected = [...averages].flatMap(([account, own]) => {
        const all = own.reduce((sum, { usd }) => sum + usd, 0n);
        const knee = 20_000n * 10n ** 18n;
        const multiplier = all >= knee ? 15n * 10n ** 17n : 5n * 10n ** 17n + (all * 10n ** 18n) / knee;
        const points = own.reduce((sum, { usd }) => sum + usd * multiplier, 0n);
        return own.map(({ asset, usd, valued }) =>
          [
            account,
            asset.key,
            decimal(usd, 18),
            valued,
            decimal(multiplier, 18),
            decimal(usd * multiplier, 36),
            points < 1000n * 10n ** 36n ? 0 : points < 30_000n * 10n ** 36n ? 1 : 2,
          ].join(' '),
        );
      });
      const rows = await ask(
        client,
        `select account_address, activity, usd_average, valued_share, multiplier, points, band
           from strata.activity_points($1, $2, curve => '[{"usd": 20000, "multiplier": 1.5}, {"usd": 0, "multiplier": 0.5}]', bands => '{30000,1000}')`,
        [instantOf(a), instantOf(b)],
      );
      expect(rows.map((row) => Object.values(row).join(' ')).toSorted()).toEqual(expected.toSorted());
    }
  });

  test('what is no longer retained is refused, with the instant to ask from', async () => {
    const early = instantOf(weekAt(WEEKS.opened) - DAY);
    for (const call of [
      'holders_over_time($1, $2, now())',
      'supply($1, $2, now())',
      'time_weighted_balances($1, $2, now())',
      'top_holders($1, $2)',
    ])
      await expect(client.query(`select * from strata.${call}`, [coin.id, early])).rejects.toMatchObject({
        message: expect.stringMatching(/balances before .* were dropped by retention/) as string,
        hint: 'Ask from 2026-01-18 00:00:00+00 on.',
      });
    await expect(
      client.query('select * from strata.asset_flows($1, now())', [instantOf(weekAt(WEEKS.changes) - 1n)]),
    ).rejects.toMatchObject({
      hint: 'Ask from 2026-01-25 00:00:00+00 on.',
    });
    await expect(
      client.query(`select * from strata.supply($1, $2, $2)`, [coin.id, instantOf(END)]),
    ).rejects.toThrow(/not later than/);
    await expect(
      client.query(`select * from strata.holders_over_time($1, $2, now(), 'fortnight')`, [
        coin.id,
        instantOf(END),
      ]),
    ).rejects.toMatchObject({
      hint: expect.stringContaining('day, week') as string,
    });
    await expect(
      client.query(`select * from strata.holders_over_time($1, $2, now(), 'hour')`, [
        gold.id,
        instantOf(END),
      ]),
    ).rejects.toThrow(/kept by the day/);
    await expect(client.query('select * from strata.top_holders(42)')).rejects.toThrow(
      /there is no asset 42/,
    );
  });
});
