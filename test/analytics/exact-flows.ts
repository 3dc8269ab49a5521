/** How assets move, against the oracle: active accounts, flows, supply; and what is refused. */
import { expect, test } from 'vitest';
import { ask } from './asking.ts';
import { flowOf, casesOf, END, heldRows, movementsOf, retainedFrom, UNITS, type Session } from './cases.ts';
import { ASSETS, DAY, HOUR, instantOf, weekAt, WEEKS } from './history.ts';
import { amount, balanceBefore, isBurn, periodsOf, rowsOf, startOf } from './oracle.ts';

const [coin, gold, holding] = ASSETS;

/** Tests of them, in a session. */
export const testFlows = (session: Session): void => {
  test('active accounts', async () => {
    for (const asset of [null, coin, holding]) {
      for (const [, a, b, unit] of casesOf([coin])) {
        const rows = (asset === null ? ASSETS : [asset]).flatMap((asset) => heldRows(session.history, asset));
        expect(
          await ask(session.client, 'select * from strata.active_accounts($1, $2, $3, $4)', [
            instantOf(a),
            instantOf(b),
            unit,
            asset?.id ?? null,
          ]),
        ).toEqual(
          periodsOf(unit, a, b).map(({ start, end }) => {
            const within = rows.filter(({ at }) => at >= retainedFrom(start) && at < end);
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

  test('flows by asset and by label', async () => {
    const a = weekAt(WEEKS.changes) + 5n * HOUR + 7n;
    const b = END - 2n * DAY;
    for (const unit of UNITS) {
      const expected = ASSETS.flatMap((asset) =>
        [
          ...Map.groupBy(
            movementsOf(session.history, asset, a, b).filter(({ account }) => !isBurn(account)),
            ({ at }) => startOf(unit, at),
          ),
        ].map(([period, moves]) => ({
          period,
          asset: asset.id,
          ...flowOf(asset, moves),
          changes: moves.length,
        })),
      );
      const sorted = (rows: readonly object[]): string[] =>
        rows.map((row) => Object.values(row).join(' ')).toSorted();
      expect(
        sorted(
          await ask(
            session.client,
            `select period, asset_id::text as asset, inflow, outflow, gross, net, accounts, changes from strata.asset_flows($1, $2, $3)`,
            [instantOf(a), instantOf(b), unit],
          ),
        ),
      ).toEqual(sorted(expected));
      for (const asset of [coin, holding]) {
        const byLabel = Map.groupBy(
          movementsOf(session.history, asset, a, b).filter(({ account }) => !isBurn(account)),
          ({ account, at }) => `${startOf(unit, at)} ${session.history.labels.get(account) ?? 'null'}`,
        );
        const rows = await ask(
          session.client,
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
        ).toEqual(sorted([...byLabel].map(([key, moves]) => ({ key, ...flowOf(asset, moves) }))));
      }
    }
  });

  test('supply, mint and burn', async () => {
    for (const [asset, a, b, unit] of casesOf(ASSETS)) {
      const first = retainedFrom(startOf(unit, a));
      const traced = !asset.observed && first >= weekAt(WEEKS.changes);
      const minted = (start: bigint, end: bigint, sign: 1n | -1n): string =>
        amount(
          asset,
          movementsOf(session.history, asset, start < first ? first : start, end)
            .filter(({ account, delta }) => account === session.history.accounts[0] && delta * sign < 0n)
            .reduce((sum, { delta }) => sum - delta * sign, 0n),
        );
      const total = (end: bigint, without: (account: string) => boolean): string =>
        amount(
          asset,
          session.history.accounts
            .filter((account) => !without(account))
            .reduce((sum, account) => sum + balanceBefore(rowsOf(session.history, asset, account), end), 0n),
        );
      expect(
        await ask(session.client, 'select * from strata.supply($1, $2, $3, $4)', [
          asset.id,
          instantOf(a),
          instantOf(b),
          unit,
        ]),
      ).toEqual(
        periodsOf(unit, a, b).map(({ start, end }) => ({
          period: start,
          supply: total(end, (account) => account === session.history.accounts[0]),
          minted: traced ? minted(start, end, 1n) : null,
          burned: traced ? minted(start, end, -1n) : null,
          circulating: total(end, isBurn),
        })),
      );
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
      await expect(
        session.client.query(`select * from strata.${call}`, [coin.id, early]),
      ).rejects.toMatchObject({
        message: expect.stringMatching(/balances before .* were dropped by retention/) as string,
        hint: 'Ask from 2026-01-18 00:00:00+00 on.',
      });
    await expect(
      session.client.query('select * from strata.asset_flows($1, now())', [
        instantOf(weekAt(WEEKS.changes) - 1n),
      ]),
    ).rejects.toMatchObject({
      hint: 'Ask from 2026-01-25 00:00:00+00 on.',
    });
    await expect(
      session.client.query(`select * from strata.supply($1, $2, $2)`, [coin.id, instantOf(END)]),
    ).rejects.toThrow(/not later than/);
    await expect(
      session.client.query(`select * from strata.holders_over_time($1, $2, now(), 'fortnight')`, [
        coin.id,
        instantOf(END),
      ]),
    ).rejects.toMatchObject({
      hint: expect.stringContaining('day, week') as string,
    });
    await expect(
      session.client.query(`select * from strata.holders_over_time($1, $2, now(), 'hour')`, [
        gold.id,
        instantOf(END),
      ]),
    ).rejects.toThrow(/kept by the day/);
    await expect(session.client.query('select * from strata.top_holders(42)')).rejects.toThrow(
      /there is no asset 42/,
    );
  });
};
