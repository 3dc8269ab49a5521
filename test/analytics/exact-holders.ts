/** Who holds an asset, against the oracle: balances, top holders, concentration, bands, holders over time, cohorts. */
import { expect, test } from 'vitest';
import { ask } from './asking.ts';
import { casesOf, END, heldRows, INSTANTS, retainedFrom, type Session } from './cases.ts';
import { ASSETS, instantOf } from './history.ts';
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
} from './oracle.ts';

const [coin, gold, , lending] = ASSETS;

/** Tests of them, in a session. */
export const testHolders = (session: Session): void => {
  test.each(INSTANTS)('balances at %s', async (instant) => {
    const expected = session.history.accounts
      .flatMap((account) =>
        ASSETS.map((asset) => ({
          account,
          asset: asset.id,
          balance: balanceAt(session.history, asset, account, instant),
        })),
      )
      .filter(({ balance }) => balance !== 0n)
      .map((row) => ({ ...row, balance: String(row.balance) }));
    const sorted = (rows: readonly object[]): string[] =>
      rows.map((row) => JSON.stringify(Object.values(row))).toSorted();
    const select = `select account_address as account, asset_id::text as asset, balance from strata.balances_at`;
    expect(sorted(await ask(session.client, `${select}($1)`, [instantOf(instant)]))).toEqual(
      sorted(expected),
    );
    expect(sorted(await ask(session.client, `${select}($1, $2)`, [instantOf(instant), coin.id]))).toEqual(
      sorted(expected.filter(({ asset }) => asset === coin.id)),
    );
    for (const account of [session.history.accounts[0]!, session.history.accounts[4]!, 'nobody'])
      expect(
        sorted(
          await ask(session.client, `${select}($1, null, strata.account($2))`, [instantOf(instant), account]),
        ),
      ).toEqual(sorted(expected.filter((row) => row.account === account)));
    if (instant > END) expect(sorted(await ask(session.client, `${select}()`))).toEqual(sorted(expected));
  });

  test('top holders, concentration and size bands', async () => {
    for (const asset of ASSETS) {
      for (const instant of INSTANTS) {
        const at = instantOf(instant);
        const holders = holdersAt(session.history, asset, instant);
        const total = holders.reduce((sum, { balance }) => sum + balance, 0n);
        expect(
          await ask(session.client, 'select * from strata.top_holders($1, $2, 4)', [asset.id, at]),
        ).toEqual(
          holders.slice(0, 4).map(({ account, balance }) => ({
            rank: 1 + holders.filter((other) => other.balance > balance).length,
            account_address: account,
            amount: amount(asset, balance),
            balance: String(balance),
            share: ratio(balance, total),
          })),
        );
        expect(
          await ask(session.client, 'select * from strata.concentration($1, $2, 3)', [asset.id, at]),
        ).toEqual([concentration(session.history, asset, instant, 3)]);
        const edges = [1n, 1000n, 1_000_000n].map((edge) => edge * 10n ** BigInt(asset.decimals));
        expect(
          await ask(session.client, `select * from strata.size_bands($1, $2, '{1000,1,1000000,1}')`, [
            asset.id,
            at,
          ]),
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

  test('holders over time', async () => {
    for (const [asset, a, b, unit] of casesOf(ASSETS)) {
      const rows = heldRows(session.history, asset);
      const first = retainedFrom(startOf(unit, a));
      expect(
        await ask(session.client, 'select * from strata.holders_over_time($1, $2, $3, $4)', [
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
          holders: session.history.accounts.filter(
            (account) => !isBurn(account) && balanceBefore(rowsOf(session.history, asset, account), end) > 0n,
          ).length,
        })),
      );
    }
  });

  test('cohorts', async () => {
    // Only an asset whose accounts arrive within the span has cohorts at all.
    for (const [asset, a, b, unit] of casesOf([gold, lending], ['day', 'week'])) {
      const first = retainedFrom(startOf(unit, a));
      const periods = periodsOf(unit, a, b);
      const fresh = session.history.accounts.filter(
        (account) =>
          !isBurn(account) && !rowsOf(session.history, asset, account).some(({ at }) => at < first),
      );
      const active = (account: string, { start, end }: { start: bigint; end: bigint }): boolean =>
        rowsOf(session.history, asset, account).some(({ at }) => at >= start && at < end);
      const expected = periods.flatMap((cohort, place) => {
        const members = fresh.filter(
          (account) => periods.find((period) => active(account, period)) === cohort,
        );
        if (members.length === 0) return [];
        return periods.slice(place).map((period, age) => {
          const moved = members.filter((account) => active(account, period)).length;
          const holding = members.filter(
            (account) => balanceBefore(rowsOf(session.history, asset, account), period.end) > 0n,
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
        await ask(session.client, 'select * from strata.cohorts($1, $2, $3, $4)', [
          asset.id,
          instantOf(a),
          instantOf(b),
          unit,
        ]),
      ).toEqual(expected);
    }
  });
};
