/** What `status` shows of history that is loaded week by week beside the set. */
import { sql } from 'kysely';
import { on, type Client, type Pool } from '../../db/query.ts';

/** A week that nobody can read yet. */
export interface WeekInWork {
  /** Its first day. */
  readonly week: string;
  /** `building`: it takes rows; `folding`: it has its keys, and its balances come next. */
  readonly state: 'building' | 'folding';
  readonly bytes: number;
  readonly opened_at: string;
  /** Why its last try to go on failed. */
  readonly error: string | null;
}

/** The history of all streams. */
export interface HistoryStatus {
  /** Weeks that stand beside the set, oldest first. */
  readonly weeks: readonly WeekInWork[];
  /** Weeks that were attached whole, and balance changes in them. */
  readonly attached: number;
  readonly rows: number;
  /** Balance changes per second of the newest {@link RATE_WEEKS} of those, keys and fold included; null before the second. */
  readonly rows_per_second: number | null;
  /** Seconds until the weeks beside the set are attached, at the rate of those; null where there is nothing to go by. */
  readonly eta_seconds: number | null;
}

/** Weeks that make a rate. */
const RATE_WEEKS = 6;

/**
 * Reads the journal of weeks; the sizes come from the catalog. Not by way of `pg_partition_tree()`, which keeps a lock on each
 * table: whoever attaches the week takes them in another order.
 */
export const readHistory = async (database: Pool | Client): Promise<HistoryStatus> => {
  const { rows: weeks } = await sql<WeekInWork>`
    select to_char(w.week_start at time zone 'UTC', 'YYYY-MM-DD') as week, case w.state when 'keyed' then 'folding' else w.state end as state,
           coalesce((select sum(pg_total_relation_size(leaf.inhrelid)) from pg_inherits leaf where leaf.inhparent = w.changes), 0)::bigint as bytes,
           to_char(w.opened_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') as opened_at, w.error
      from strata.backfill_weeks w where w.state <> 'attached' order by w.week_start`.execute(on(database));
  const { rows } = await sql<{
    attached: number;
    rows: number;
    recent: number | null;
    seconds: number | null;
    steps: number;
  }>`
    with attached as (
      select w.attached_at, w.row_count, row_number() over (order by w.attached_at desc) as place
        from strata.backfill_weeks w where w.state = 'attached'
    ), recent as (
      select r.*, lag(r.attached_at) over (order by r.attached_at) as before from attached r where r.place <= ${RATE_WEEKS}
    )
    select (select count(*)::int from attached) as attached, (select coalesce(sum(a.row_count), 0)::bigint from attached a) as rows,
           (select sum(r.row_count)::bigint from recent r where r.before is not null) as recent,
           (select extract(epoch from max(r.attached_at) - min(r.attached_at))::float8 from recent r) as seconds,
           (select count(*)::int from recent r where r.before is not null) as steps`.execute(on(database));
  const { attached, rows: total, recent, seconds, steps } = rows[0]!;
  const known = recent !== null && seconds !== null && seconds > 0;
  return {
    weeks,
    attached,
    rows: total,
    rows_per_second: known ? recent / seconds : null,
    eta_seconds: known && weeks.length > 0 ? Math.round((weeks.length * seconds) / steps) : null,
  };
};
