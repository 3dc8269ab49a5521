/**
 * The balance explorer's questions: what an account holds, how it came to that, who holds most of an asset, and how
 * concentrated it is. All of the page's SQL over balances is here; every question has a bound on its rows.
 */
import { sql } from 'kysely';
import { on, type Client } from '../../db/query.ts';

/** An asset, by the id that PostgreSQL computes: a 64-bit number, so it travels as text. */
export interface AssetLine {
  readonly asset_id: string;
  readonly network: string;
  readonly standard: string;
  readonly asset: string;
  readonly symbol: string | null;
  readonly token_id: string | null;
  readonly decimals: number | null;
}

/** Assets listed at most. */
const ASSETS_MAX = 200;

/** Assets by name: those whose symbol or key begins so, or all; the named ones first. */
export const listAssets = async (client: Client, begins: string): Promise<readonly AssetLine[]> => {
  const { rows } = await sql<AssetLine>`
    select asset_id::text, network, standard, asset_key as asset, symbol, token_id::text, decimals
      from strata.assets
     where starts_with(lower(asset_key), ${begins.toLowerCase()}) or starts_with(lower(symbol), ${begins.toLowerCase()})
     order by symbol nulls last, asset_key, token_id limit ${ASSETS_MAX}`.execute(on(client));
  return rows;
};

/** What an account holds of one asset. Amounts are exact decimal text, scaled by the asset's decimals. */
export interface Holding {
  readonly asset_id: string;
  readonly network: string;
  readonly asset: string;
  readonly token_id: string | null;
  readonly amount: string;
  readonly negative: boolean;
  /** The period of its last change. */
  readonly changed_in: Date;
}

/** Holdings listed at most. */
const HOLDINGS_MAX = 200;

/** An account's balances now: those that changed last come first. */
export const readHoldings = async (client: Client, account: string): Promise<readonly Holding[]> => {
  const { rows } = await sql<Holding>`
    select asset_id::text, network, asset, token_id::text, trim_scale(amount)::text as amount, negative, changed_in
      from strata.balances_current where account_address = strata.account(${account})
     order by changed_in desc, asset limit ${HOLDINGS_MAX}`.execute(on(client));
  return rows;
};

/** A balance at the end of a period. */
export interface HistoryPoint {
  /** Start of the period, in seconds since 1970. */
  readonly at: number;
  readonly amount: string;
}

/** Points of a plot at most; where there are more, the last of each span is taken. */
const POINTS_MAX = 1500;

/** The stored balances of an account in an asset, in time order, and how many there are in all. */
export const readHistory = async (
  client: Client,
  account: string,
  asset: string,
): Promise<{ readonly points: readonly HistoryPoint[]; readonly rows: number }> => {
  // Asked for by itself: on a cluster the rest runs inside a shard, where no function may look the asset up.
  const { rows: scales } = await sql<{
    scale: string;
  }>`select strata.scale_of(${asset}::bigint)::text as scale`.execute(on(client));
  const scale = scales[0]?.scale ?? null;
  const { rows } = await sql<HistoryPoint & { readonly rows: number }>`
    with stored as materialized (
      select "timestamp", balance from strata.balance_history
       where account_address = strata.account(${account}) and asset_id = ${asset}::bigint
    ), thinned as (
      select distinct on (span) "timestamp", balance
        from (select *, ntile(${POINTS_MAX}) over (order by "timestamp") as span from stored) s order by span, "timestamp" desc
    )
    select extract(epoch from t."timestamp")::float8 as at,
           trim_scale(t.balance * ${scale}::numeric)::text as amount,
           (select count(*) from stored)::int as rows
      from thinned t order by t."timestamp"`.execute(on(client));
  return { points: rows.map(({ at, amount }) => ({ at, amount })), rows: rows[0]?.rows ?? 0 };
};

/** A balance at an instant, exact to the change: null where there is no such asset. */
export const readBalanceAt = async (
  client: Client,
  account: string,
  asset: string,
  at: string,
): Promise<string | null> => {
  const { rows } = await sql<{ amount: string }>`
    select trim_scale(strata.balance_at(strata.account(${account}), a.asset_id, ${at}::timestamptz)
             * strata.scale_of(a.asset_id))::text as amount
      from strata.assets a where a.asset_id = ${asset}::bigint`.execute(on(client));
  return rows[0]?.amount ?? null;
};

/** One of the largest holders. */
export interface Holder {
  readonly account: string;
  readonly amount: string;
  /** Of everything held, from 0 to 1. */
  readonly share: number;
}

/** Holders listed. */
const HOLDERS_SHOWN = 20;

/** The largest holders now, and how many there are; accounts that nobody holds are left out. */
export const readHolders = async (
  client: Client,
  asset: string,
): Promise<{ readonly holders: readonly Holder[]; readonly count: number }> => {
  const { rows } = await sql<Holder & { readonly count: number }>`
    select strata.account_text(h.account_address) as account, trim_scale(h.amount)::text as amount, h.share::float8 as share,
           (select count(*)::int from strata.holders_at(${asset}::bigint)) as count
      from strata.top_holders(${asset}::bigint, holders => ${HOLDERS_SHOWN}) h`.execute(on(client));
  return {
    holders: rows.map(({ account, amount, share }) => ({ account, amount, share })),
    count: rows[0]?.count ?? 0,
  };
};

/** How an asset was spread over its holders at an instant. */
export interface Concentration {
  /** In seconds since 1970. */
  readonly at: number;
  readonly holders: number;
  /** Share of the largest, the ten and the hundred largest holders, from 0 to 1. */
  readonly top_1: number;
  readonly top_10: number;
  readonly top_100: number;
  /** 0 where all hold the same, near 1 where one holds all. */
  readonly gini: number;
}

/** Instants of the plot. */
const INSTANTS = 24;

/**
 * How concentrated an asset was at {@link INSTANTS} ends of periods, from its first balance to its last: what `strata.concentration`
 * says of the last microsecond before `at`. One pass over the asset's history, where that would read it once for each instant.
 * Shares, not amounts: so doubles will do.
 */
export const readConcentration = async (client: Client, asset: string): Promise<readonly Concentration[]> => {
  const { rows } = await sql<Concentration>`
    with grain as (
      select case a.grain when 'hour' then 3600 else 86400 end as seconds from strata.assets a where a.asset_id = ${asset}::bigint
    ), stored as materialized (
      select account_address, balance::float8 as balance, period,
             lead(period) over (partition by account_address order by period) as until
        from (select *, extract(epoch from "timestamp")::bigint / (select seconds from grain) as period
                from strata.balance_history where asset_id = ${asset}::bigint) h
       where not exists (select from strata.burn_accounts n where n.account_address = h.account_address)
    ), span as (
      select min(period) as first, greatest(max(period) - min(period), 1) as periods from stored
    ), ranked as (
      -- The instants are ends of periods spread evenly, rounded down; the first one that a period has ended by is the inverse.
      select n, balance, row_number() over (partition by n order by balance desc) as place
        from stored cross join span
       cross join lateral generate_series(((period - first) * ${INSTANTS - 1} + periods - 1) / periods,
               coalesce(((until - first) * ${INSTANTS - 1} + periods - 1) / periods, ${INSTANTS}) - 1) n
       where balance > 0
    )
    select ((first + n * periods / ${INSTANTS - 1} + 1) * (select seconds from grain))::float8 as at,
           count(*)::int as holders, max(balance) / sum(balance) as top_1,
           sum(balance) filter (where place <= 10) / sum(balance) as top_10,
           sum(balance) filter (where place <= 100) / sum(balance) as top_100,
           (count(*) + 1 - 2 * sum(balance * place) / sum(balance)) / count(*) as gini
      from ranked cross join span group by n, first, periods order by n`.execute(on(client));
  return rows;
};
