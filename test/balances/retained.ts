/** What must hold of a warehouse of which weeks were dropped, and the history that those tests play. */
import { expect } from 'vitest';
import type { Pool } from '../../src/db/query.ts';
import { blocksOf, DAY, HOUR, instant, move, valueOf, verified, WEEK } from './harness.ts';
import { SUNDAY, type Step } from './histories.ts';
import { foldAll, periodOf, PERIOD, type Change } from './oracle.ts';
import type { Player } from './play.ts';
import { storedTables } from './tables.ts';

/** Five weeks of moves between all accounts, with keys that change once, and keys that come to rest. */
export const fiveWeeks = (): Step =>
  blocksOf(
    ...Array.from({ length: 35 }, (_unused, day) => [
      move(0, 1 + (day % 3), 100 + day, BigInt(day) * DAY + HOUR),
      move(1 + (day % 2), 2, day, BigInt(day) * DAY + 2n * HOUR),
      ...(day === 3 ? [move(3, 4, 1000, BigInt(day) * DAY, 1)] : []),
    ]),
  );

/** As-of balances of every key at instants from the cutoff on, and the state, against the oracle. */
export const expectRetained = async (
  pool: Pool,
  player: Player,
  cutoff: bigint,
  exactFrom = cutoff,
): Promise<void> => {
  const changes = player.changes();
  const stored = await storedTables(pool, player.assets);
  const all = foldAll(changes, 'hour', 0);
  const retained = (line: string): boolean => BigInt(line.split(' ')[2]!) >= SUNDAY + cutoff;
  expect(stored.rows.filter(retained)).toEqual(all.rows.filter(retained));
  // An opening balance is as new as the newest late change it ever had. Where changes were dropped, one of which all others
  // were taken back stays, as 0: whether it stands for dropped ones is not known any more.
  const balances = (lines: readonly string[]): string[] =>
    lines
      .map((line) => line.replace(/ \d+ (-?\d+)$/, ' $1'))
      .filter((line) => exactFrom === cutoff || !line.endsWith(' 0'));
  expect(balances(stored.state)).toEqual(balances(all.state));
  for (const [key, ofKey] of Map.groupBy(changes, (change: Change) => change.key)) {
    const [account, asset] = key.split(' ');
    for (const at of [
      cutoff,
      cutoff + DAY + HOUR,
      cutoff + 3n * DAY + 2n * HOUR - 1n,
      cutoff + 2n * WEEK,
      cutoff + 9n * WEEK,
    ]) {
      const end = at < exactFrom ? periodOf(SUNDAY + at, PERIOD.hour) + PERIOD.hour - 1n : SUNDAY + at;
      const expected = ofKey
        .filter(({ micros }) => micros <= end)
        .reduce((sum, { units }) => sum + units, 0n);
      const found = await valueOf<string>(pool, `select strata.balance_at(decode($1, 'hex'), $2, $3)`, [
        account,
        asset,
        instant(at),
      ]);
      expect([key, at, found]).toEqual([key, at, String(expected)]);
    }
  }
  expect(await verified(pool)).toMatchObject({ differences: 0, first: [] });
};
