/** Looks over the managed sets: what is too big, skewed, missing, left lying or failing, and what to do about it. */
import { sql } from 'kysely';
import { on, type Client, type Pool } from '../../db/query.ts';
import { readShardSizes, type ShardedTable } from '../shard-sizes.ts';
import {
  judgeLocks,
  judgeSet,
  type Alert,
  type LockRoom,
  type WatchedSet,
  type WatchedWeek,
} from './alerts.ts';
import { columnarAtHand, liesInShards, STORED_BY_COLUMN } from './weeks.ts';

/**
 * Looks over every managed set; catalog and journals only. Without anything to say of a set there is nothing about it.
 *
 * @param now the present instant, for runway and age
 */
export const watchSets = async (
  database: Pool | Client,
  now: Date = new Date(),
): Promise<readonly Alert[]> => {
  const sets = await readSets(database, now);
  return [...sets.flatMap((set) => judgeSet(set, now)), ...judgeLocks(await readLockRoom(database, sets))];
};

/** Whether a run of the verb is under way now: what it has begun is not left lying. */
const isRunning = (verb: string) => sql`exists (
  select from strata.maintenance_runs r join pg_stat_activity a on a.pid = r.backend_pid and coalesce(a.backend_start <= r.started_at, true)
   where r.set_name = s.set_name and r.verb = ${verb} and r.outcome = 'running')`;

type SetRow = Omit<WatchedSet, 'weeks' | 'failures'>;

const readSets = async (database: Pool | Client, now: Date): Promise<WatchedSet[]> => {
  const at = now.toISOString();
  const sets = await sql<SetRow>`
    select s.set_name as "set", format('%I.%I', n.nspname, c.relname) as root, s.premake, s.size_alert,
           case when not ${isRunning('consolidate')} then ${at}::timestamptz - s.consolidate_after end as consolidate_before,
           s.set_name = ${STORED_BY_COLUMN} and ${columnarAtHand} as by_column,
           coalesce((select array_agg(h.partition_name order by h.lower_bound) from strata.held_partitions h
                      where h.set_name = s.set_name and h.state = 'held' and h.drop_after <= ${at}::timestamptz), '{}') as overdue,
           coalesce((select array_agg(h.partition_name order by h.lower_bound) from strata.held_partitions h
                      where h.set_name = s.set_name and h.state = 'detaching' and not ${isRunning('retain')}), '{}') as detaching,
           coalesce((select array_agg(format('%s is at step %s', j.week_name, j.step) order by j.lower_bound) from strata.consolidations j
                      where j.set_name = s.set_name and j.finished_at is null and j.step not in ('swapped', 'undone', 'dropped')
                        and not ${isRunning('consolidate')}), '{}') as unfinished
      from strata.partition_sets s
      join pg_class c on c.oid = s.parent
      join pg_namespace n on n.oid = c.relnamespace
     order by s.set_name`.execute(on(database));
  const weeks = await sql<WatchedWeek & { readonly set: string; readonly oid: number }>`
    select s.set_name as "set", w.partition::oid::bigint as oid, w.partition_name as name, w.kind, w.leaves, w.total_bytes, w.detach_pending,
           case when isfinite(w.lower_bound) then w.lower_bound end as lower,
           case when isfinite(w.upper_bound) then w.upper_bound end as upper,
           (select coalesce(max(pg_total_relation_size(t.relid)), 0)::bigint from pg_partition_tree(w.partition) t where t.isleaf) as largest_leaf,
           w.kind not in ('hash', 'list', 'consolidated')
             or exists (select from pg_partition_tree(w.partition) t where t.isleaf and pg_relation_size(t.relid) > 0) as used
      from strata.partition_sets s cross join lateral strata.week_info(s.set_name) w
     order by s.set_name, w.lower_bound`.execute(on(database));
  const sizes = weeks.rows.some(({ kind }) => liesInShards(kind)) ? await readShardSizes(database) : null;
  const failures = await sql<{ set: string; verb: string; error: string | null; at: Date; outcome: string }>`
    select distinct on (r.set_name, r.verb) r.set_name as "set", r.verb, r.error, coalesce(r.finished_at, r.started_at) as at, r.outcome
      from strata.maintenance_runs r where r.outcome not in ('running', 'stopped')
     order by r.set_name, r.verb, r.started_at desc, r.run_id desc`.execute(on(database));
  return sets.rows.map((row) => ({
    ...row,
    weeks: weeks.rows
      .filter((week) => week.set === row.set)
      .map((week) => ({ ...week, ...sizesOf(sizes?.get(week.oid)) })),
    failures: failures.rows.filter((run) => run.set === row.set && run.outcome === 'failed'),
  }));
};

const sizesOf = (
  shards: ShardedTable | undefined,
): Partial<Pick<WatchedWeek, 'total_bytes' | 'largest_leaf'>> =>
  shards === undefined
    ? {}
    : { total_bytes: shards.heap_bytes + shards.index_bytes, largest_leaf: shards.largest_bytes };

const readLockRoom = async (database: Pool | Client, sets: readonly WatchedSet[]): Promise<LockRoom> => {
  const { rows } = await sql<Omit<LockRoom, 'largest'>>`
    select current_setting('max_locks_per_transaction')::int as max_locks_per_transaction,
           current_setting('max_connections')::int as max_connections,
           current_setting('max_locks_per_transaction')::bigint
             * (current_setting('max_connections')::int + current_setting('max_prepared_transactions')::int) as capacity,
           exists (select from pg_db_role_setting r join pg_database d on d.oid = r.setdatabase and d.datname = current_database()
                    where r.setrole = 0 and 'plan_cache_mode=force_custom_plan' = any (r.setconfig)) as custom_plans`.execute(
    on(database),
  );
  const leavesOf = ({ weeks }: WatchedSet): number =>
    weeks.reduce((sum, week) => sum + Math.max(1, week.leaves), 0);
  const [largest] = sets
    .map((set) => ({ set: set.set, leaves: leavesOf(set) }))
    .toSorted((a, b) => b.leaves - a.leaves);
  return { ...rows[0]!, largest: largest ?? null };
};
