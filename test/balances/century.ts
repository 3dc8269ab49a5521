/** Two years of made-up changes in 104 weeks, for what must hold at scale: rows made by SQL, folded batch by batch. */
import type { Pool } from '../../src/db/query.ts';

/** How much there is of it. */
export interface CenturySize {
  readonly changes: number;
  readonly accounts: number;
  readonly batches: number;
  /** Fewer than {@link WEEKS}, where making them would take longer than the test. */
  readonly weeks?: number;
}

/** Weeks that are filled. */
export const WEEKS = 104;

/** The first of them, a Sunday. */
const FIRST_WEEK = '2024-01-07 00:00:00+00';

/** Start of a week by its number. */
export const weekText = (week: number): string =>
  new Date(Date.parse('2024-01-07T00:00:00Z') + week * 604_800_000).toISOString();

/** Makes the weeks, one source, its changes (one in twenty of them late by up to half a year) and its ledger. */
export const fillCentury = async (
  pool: Pool,
  { changes, accounts, batches, weeks = WEEKS }: CenturySize,
): Promise<number> => {
  for (const set of ['balance_changes', 'account_balances'])
    await pool.query('select strata.ensure_weeks($1, $2, $3)', [set, weekText(0), weekText(weeks - 1)]);
  await pool.query(
    `insert into strata.streams (stream, load, target, grain, definition, epoch) values ('century', 'transfers', 'strata.balance_changes', 'hour', '{}', 1);
     insert into strata.sources (stream, network) values ('century', 'tests');
     insert into strata.assets (asset_id, network, standard, asset_key, grain, zero_sum) select a, 'tests', 'erc20', 'asset ' || a, 'hour', false from generate_series(1, 2) a`,
  );
  const { rows } = await pool.query<{ source_id: number }>(
    `select source_id from strata.sources where stream = 'century'`,
  );
  const source = rows[0]!.source_id;
  // Two changes a block. The place of a change follows from its number alone, so that every run has the same rows.
  await pool.query(
    `insert into strata.balance_changes (account_address, asset_id, block_time, block_num, ordinal, source_id, delta)
     select substr(sha256(int8send((i * 2654435761) % $2)), 1, 20), 1 + (i / 7) % 2,
            timestamptz '${FIRST_WEEK}' + greatest(i - case when i % 20 = 0 then ((i * 7919) % ($1::bigint / 4)) else 0 end, 0) * (interval '${weeks} weeks' / $1::float8),
            i / 2, i % 2, $3, case when i % 3 = 0 then -1 else 1 end * ((i * 48271) % 1000003) * 1000000000000000000::numeric
       from generate_series(0, $1::bigint - 1) i`,
    [changes, accounts, source],
  );
  await pool.query(
    `insert into strata.stream_batches (source_id, start_block, end_block, batch_id, row_count, min_time, max_time)
     select $1, (min(block_num) / $2) * $2, (min(block_num) / $2 + 1) * $2 - 1, block_num / $2, count(*), min(block_time), max(block_time)
       from strata.balance_changes group by block_num / $2`,
    [source, Math.ceil(changes / 2 / batches)],
  );
  return source;
};

/** Rows that a plain window over all changes gives and the table has not, and the other way round: how many. */
export const EXCEPT_BOTH_WAYS = `
  with recomputed as materialized (
    select account_address, asset_id, period, sum(delta) over (partition by account_address, asset_id order by period) as balance, changes
      from (select account_address, asset_id, date_trunc('hour', block_time, 'UTC') as period, sum(delta) as delta, count(*)::int as changes
              from strata.balance_changes group by 1, 2, 3) p
  ), stored as materialized (
    select account_address, asset_id, "timestamp", balance, change_count from strata.account_balances
  )
  select jsonb_build_array((select count(*) from (table recomputed except table stored) a), (select count(*) from (table stored except table recomputed) b),
    (select count(*) from stored), (select count(*) from strata.account_balances_current))`;
