/** A synthetic history of balance changes: weeks of it, made and folded in the server. */
import type { Client } from '../../src/db/query.ts';

/** First instant of the history, a Sunday. */
export const FIRST_WEEK = '2024-01-07 00:00:00+00';

/** Its shape. */
export const HISTORY = { keys: 200_000, assets: 20, changesPerWeek: 50_000 };

/** The week with this number, as SQL. */
const weekStart = (week: number): string => `timestamptz '${FIRST_WEEK}' + interval '${week * 168} hours'`;

/** Adds weeks until there are so many, each loaded sorted and folded as a whole. */
export const growHistory = async (
  client: Client,
  weeks: number,
  say: (text: string) => void,
): Promise<void> => {
  const { rows } = await client.query<{ weeks: number }>(
    `select count(*) as weeks from strata.set_partitions('balance_changes')`,
  );
  await client.query(
    `insert into strata.assets (asset_id, network, standard, asset_key) select n, 'bench', 'erc20', n::text from generate_series(0, ${HISTORY.assets - 1}) n on conflict do nothing`,
  );
  say(`growing the history to ${weeks} weeks`);
  for (let week = rows[0]!.weeks; week < weeks; week++) {
    await client.query(
      `select strata.ensure_weeks('balance_changes', ${weekStart(week)}, ${weekStart(week)})`,
    );
    await client.query(
      `select strata.ensure_weeks('account_balances', ${weekStart(week)}, ${weekStart(week)})`,
    );
    await client.query(`insert into strata.balance_changes
      select decode(md5(k::text) || '00000000', 'hex'), k % ${HISTORY.assets}, ${weekStart(week)} + interval '168 hours' * (n / ${HISTORY.changesPerWeek + 1}.0), ${week * HISTORY.changesPerWeek} + n, 0, 1, (random() * 1e18)::numeric(40, 0)
        from (select n, floor(random() * ${HISTORY.keys})::int as k from generate_series(1, ${HISTORY.changesPerWeek}) n) drawn order by 1, 2`);
    await client.query(`select strata.fold_week(${weekStart(week)})`);
  }
  await client.query('vacuum analyze');
  await client.query('checkpoint');
};
