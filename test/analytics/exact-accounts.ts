/** What accounts hold, against the oracle: history, averages, changes, portfolio, points. */
import { expect, test } from 'vitest';
import { decimal } from '../balances/oracle.ts';
import { ask } from './asking.ts';
import { casesOf, END, INSTANTS, retainedFrom, SPANS, type Session } from './cases.ts';
import { ASSETS, DAY, instantOf, weekAt, WEEKS, type Asset } from './history.ts';
import {
  amount,
  balanceAt,
  balanceBefore,
  isBurn,
  periodsOf,
  ratio,
  rowsOf,
  timeWeighted,
  type Row,
} from './oracle.ts';

const [coin, , holding, lending] = ASSETS;

/** Tests of them, in a session. */
export const testAccounts = (session: Session): void => {
  test('session.history, forward-filled', async () => {
    for (const [asset, a, b, unit] of [...casesOf(ASSETS), ...casesOf([coin], ['hour']).slice(1)]) {
      for (const account of [
        session.history.accounts[0]!,
        session.history.accounts[5]!,
        session.history.accounts[11]!,
      ]) {
        const rows = rowsOf(session.history, asset, account);
        expect(
          await ask(
            session.client,
            'select period, balance, change_count from strata.balance_series(strata.account($1), $2, $3, $4, $5)',
            [account, asset.id, instantOf(a), instantOf(b), unit],
          ),
        ).toEqual(
          periodsOf(unit, a, b).map(({ start, end }) => ({
            period: start,
            balance: String(balanceBefore(rows, end)),
            change_count: rows
              .filter(({ at }) => at >= retainedFrom(start) && at < end)
              .reduce((sum, { changes }) => sum + changes, 0),
          })),
        );
      }
    }
  });

  test('time-weighted balances', async () => {
    for (const asset of ASSETS) {
      for (const [a, b] of SPANS) {
        const expected = session.history.accounts
          .filter((account) => !isBurn(account))
          .flatMap((account) => {
            const weighted = timeWeighted(session.history, asset, account, a, b);
            return weighted === undefined ? [] : [{ account_address: account, ...weighted }];
          })
          .toSorted((x, y) =>
            x.sort === y.sort ? (x.account_address < y.account_address ? -1 : 1) : x.sort > y.sort ? -1 : 1,
          )
          .map(({ sort: _sort, ...row }) => row);
        const found = await ask(session.client, 'select * from strata.time_weighted_balances($1, $2, $3)', [
          asset.id,
          instantOf(a),
          instantOf(b),
        ]);
        const byAccount = (rows: readonly Record<string, unknown>[]): unknown =>
          Object.fromEntries(rows.map((row) => [row['account_address'], row]));
        expect(byAccount(found)).toEqual(byAccount(expected));
        expect(found.map((row) => row['average'])).toEqual(expected.map((row) => row.average));
        const one = session.history.accounts[6]!;
        expect(
          await ask(
            session.client,
            'select * from strata.time_weighted_balances($1, $2, $3, strata.account($4))',
            [asset.id, instantOf(a), instantOf(b), one],
          ),
        ).toEqual(expected.filter((row) => row.account_address === one));
      }
    }
  });

  test('change over 24 hours, 7 days and 30 days', async () => {
    const instant = END - 1n;
    const before = [0n, DAY, 7n * DAY, 30n * DAY].map((back) => instant - back);
    for (const asset of ASSETS) {
      const expected = session.history.accounts
        .filter((account) => !isBurn(account))
        .map(
          (account) =>
            [account, ...before.map((at) => balanceAt(session.history, asset, account, at))] as const,
        )
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
        const one = text === 'null' ? [] : [session.history.accounts[7]];
        const rows = await ask(
          session.client,
          `select account_address, amount, change_24h, change_7d, change_30d from strata.balance_change($1, $2, ${text})`,
          [instantOf(instant), asset.id, ...one],
        );
        expect(rows.map((row) => Object.values(row).join(' ')).toSorted()).toEqual(
          expected.filter((line) => one.length === 0 || line.startsWith(one[0]!)).toSorted(),
        );
      }
    }
    await expect(session.client.query('select * from strata.balance_change()')).rejects.toThrow(
      /neither an account nor an asset/,
    );
  });

  test('portfolio with as-of prices', async () => {
    const maxAge = 3n * DAY;
    for (const instant of INSTANTS.slice(1)) {
      const account = session.history.accounts[8]!;
      const expected = ASSETS.flatMap((asset) => {
        const balance = balanceAt(session.history, asset, account, instant);
        if (balance === 0n) return [];
        const price = session.history.prices
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
        session.client,
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
        for (const account of session.history.accounts.filter((one) => !isBurn(one))) {
          const rows = rowsOf(session.history, asset, account);
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
            const price = session.history.prices
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
        session.client,
        `select account_address, activity, usd_average, valued_share, multiplier, points, band
           from strata.activity_points($1, $2, curve => '[{"usd": 20000, "multiplier": 1.5}, {"usd": 0, "multiplier": 0.5}]', bands => '{30000,1000}')`,
        [instantOf(a), instantOf(b)],
      );
      expect(rows.map((row) => Object.values(row).join(' ')).toSorted()).toEqual(expected.toSorted());
    }
  });
};
