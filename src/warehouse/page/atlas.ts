/** What the strata map is drawn from: sets, partitions and journals, in a few catalog reads that cost the same for 15 weeks and for 500. */
import { sql } from 'kysely';
import { on, type Client } from '../../db/query.ts';
import { readShardSizes } from '../shard-sizes.ts';

/** One table that holds rows. */
export interface AtlasLeaf {
  readonly oid: number;
  readonly name: string;
  /** As of the last ANALYZE; −1 before it. */
  readonly rows: number;
}

/** One partition of a set, in the catalog's words. */
export interface AtlasWeek {
  readonly set: string;
  readonly name: string;
  /** Null for a DEFAULT partition, or bounds that are no plain range of instants. */
  readonly lower: Date | null;
  readonly upper: Date | null;
  /** As pg_class.relkind has it: `p` has leaves, `r` is a table itself, `f` is none of this server's; `s` is cut into shards, row by row. */
  readonly relkind: 'p' | 'r' | 'f' | 's';
  readonly leaves: readonly AtlasLeaf[];
}

/** A managed set and its policy, as far as the map shows it. */
export interface AtlasSet {
  readonly set: string;
  readonly root: string;
  readonly cut: string;
  readonly modulus: number;
  readonly premake: number;
  readonly retained_from: Date | null;
}

/** A consolidation that has not come to its swap, or is being taken back. */
export interface AtlasWork {
  readonly set: string;
  readonly lower: Date;
  readonly step: string;
  readonly error: string | null;
  readonly started_at: Date;
}

/** A week of history that is loaded beside the set: nobody can read it yet. */
export interface AtlasApart {
  readonly set: string;
  readonly name: string;
  readonly lower: Date;
  readonly upper: Date;
  /** `building`: it takes rows; `folding`: it has its keys, and its balances come next. */
  readonly step: string;
  readonly error: string | null;
  /** Its tables, by oid. */
  readonly leaves: readonly number[];
}

/** A week that was taken out, or what a consolidation has put aside. */
export interface AtlasHeld {
  readonly set: string;
  readonly name: string;
  readonly lower: Date;
  readonly upper: Date;
  readonly reason: 'retained' | 'consolidated' | 'undone';
  readonly state: 'detaching' | 'held' | 'dropped';
  readonly bytes: number | null;
  readonly rows: number | null;
  readonly drop_after: Date;
}

/** What a finished consolidation has proved. */
export interface AtlasProof {
  readonly set: string;
  readonly lower: Date;
  readonly rows: number | null;
  readonly hash: string | null;
  readonly bytes_before: number | null;
  readonly bytes_after: number | null;
  readonly root_locked_ms: number | null;
  readonly swapped_at: Date;
}

/** All of it, at one snapshot. */
export interface Atlas {
  readonly now: Date;
  readonly sets: readonly AtlasSet[];
  readonly weeks: readonly AtlasWeek[];
  readonly apart: readonly AtlasApart[];
  readonly work: readonly AtlasWork[];
  readonly held: readonly AtlasHeld[];
  readonly proofs: readonly AtlasProof[];
  /** Newest loaded instants of streams that load now: their weeks are hot whatever the calendar says. */
  readonly frontiers: readonly Date[];
}

/** Partitions that are drawn at most: half a century of weeks for ten sets. */
const WEEKS_MAX = 26_000;

/** Dropped weeks that are still shown. */
const DROPPED_MAX = 60;

/** Bounds as the catalog prints them, in UTC: the map of 500 weeks is drawn from one statement, not from one call a week. */
const BOUNDS = `^FOR VALUES FROM \\('([^']+)'\\) TO \\('([^']+)'\\)$`;

/** Reads it; no table that holds rows is opened. */
export const readAtlas = async (client: Client): Promise<Atlas> => {
  const db = on(client);
  const now = await sql<{ now: Date }>`select now() as now`.execute(db);
  const sets = await sql<AtlasSet>`
    select s.set_name as "set", s.parent::text as root, s.layout || ' of ' || s.hash_column as cut, s.modulus, s.premake,
           case when isfinite(s.retained_from) then s.retained_from end as retained_from
      from strata.partition_sets s order by s.set_name`.execute(db);
  const weeks = await sql<AtlasWeek>`
    select s.set_name as "set", c.relname as name, b.bound[1]::timestamptz as lower, b.bound[2]::timestamptz as upper,
           case when c.relkind = 'r' and strata.topology() = 'citus' and strata.is_distributed(c.oid)
                 and not exists (select from pg_am m where m.oid = c.relam and m.amname = 'columnar') then 's' else c.relkind::text end as relkind,
           case when c.relkind = 'p' then coalesce(l.leaves, '[]')
                else json_build_array(json_build_object('oid', c.oid::bigint, 'name', c.relname, 'rows', c.reltuples)) end as leaves
      from strata.partition_sets s
      join pg_inherits i on i.inhparent = s.parent
      join pg_class c on c.oid = i.inhrelid
      cross join lateral (select regexp_match(pg_get_expr(c.relpartbound, c.oid), ${BOUNDS}) as bound) b
      left join lateral (
        select json_agg(json_build_object('oid', x.oid::bigint, 'name', x.relname, 'rows', x.reltuples) order by length(x.relname), x.relname) as leaves
          from pg_inherits li join pg_class x on x.oid = li.inhrelid where li.inhparent = c.oid
      ) l on c.relkind = 'p'
     order by s.set_name, 3 nulls last, c.relname limit ${WEEKS_MAX}`.execute(db);
  const apart = await sql<AtlasApart>`
    select 'balance_changes' as "set", c.relname as name, w.week_start as lower, w.week_start + interval '168 hours' as upper,
           case w.state when 'keyed' then 'folding' else w.state end as step, w.error,
           coalesce((select json_agg(leaf.inhrelid::bigint order by leaf.inhrelid) from pg_inherits leaf where leaf.inhparent = w.changes), '[]') as leaves
      from strata.backfill_weeks w join pg_class c on c.oid = w.changes where w.state <> 'attached'`.execute(
    db,
  );
  const work = await sql<AtlasWork>`
    select set_name as "set", lower_bound as lower, step, error, started_at from strata.consolidations
     where finished_at is null and step not in ('swapped', 'undone', 'dropped', 'failed') order by lower_bound`.execute(
    db,
  );
  const held = await sql<AtlasHeld>`
    select h.set_name as "set", h.partition_name as name, h.lower_bound as lower, h.upper_bound as upper, h.reason, h.state, h.bytes,
           h.row_count as rows, h.drop_after
      from strata.held_partitions h where h.state in ('held', 'detaching')
    union all
    (select h.set_name, h.partition_name, h.lower_bound, h.upper_bound, h.reason, h.state, h.bytes, h.row_count, h.drop_after
       from strata.held_partitions h where h.state = 'dropped' and h.reason = 'retained'
      order by h.lower_bound desc limit ${DROPPED_MAX})`.execute(db);
  const proofs = await sql<AtlasProof>`
    select distinct on (set_name, lower_bound) set_name as "set", lower_bound as lower, row_count as rows,
           proof -> 'forward' ->> 'hash' as hash, bytes_before, bytes_after,
           (detail ->> 'root_locked_ms')::float8 as root_locked_ms, swapped_at
      from strata.consolidations where swapped_at is not null and step in ('swapped', 'dropped')
     order by set_name, lower_bound, swapped_at desc`.execute(db);
  const frontiers = await sql<{ at: Date }>`
    select distinct block_time as at from strata.stream_status where state = 'running' and block_time is not null`.execute(
    db,
  );
  return {
    now: now.rows[0]!.now,
    sets: sets.rows,
    weeks: weeks.rows,
    apart: apart.rows,
    work: work.rows,
    held: held.rows,
    proofs: proofs.rows,
    frontiers: frontiers.rows.map(({ at }) => at),
  };
};

/** What one table holds. */
export interface TableSize {
  /** Indexes included; null where it is gone. */
  readonly bytes: number | null;
  /** Of a table in the shards of a cluster, of which the coordinator's catalog knows nothing: as of the last ANALYZE there. */
  readonly rows?: number | null;
}

/**
 * The size of every table of every set and beside it, by oid. The file system is asked for each, which takes half a second for
 * 4,000 of them: so it is read seldom, and beside the map.
 */
export const readSizes = async (client: Client): Promise<ReadonlyMap<number, TableSize>> => {
  const { rows } = await sql<{ oid: number; bytes: number | null }>`
    select leaf.oid::bigint as oid, pg_total_relation_size(leaf.oid) as bytes
      from strata.partition_sets s
      join pg_inherits i on i.inhparent = s.parent
      left join pg_inherits l on l.inhparent = i.inhrelid
      join pg_class leaf on leaf.oid = coalesce(l.inhrelid, i.inhrelid) and leaf.relkind = 'r'
    union all
    select l.inhrelid::bigint, pg_total_relation_size(l.inhrelid)
      from strata.backfill_weeks w join pg_inherits l on l.inhparent = w.changes where w.state <> 'attached'
     limit ${WEEKS_MAX * 4}`.execute(on(client));
  const shards = await readShardSizes(client);
  return new Map(
    rows.map(({ oid, bytes }): [number, TableSize] => {
      const inShards = shards.get(oid);
      return [
        oid,
        inShards === undefined
          ? { bytes }
          : { bytes: inShards.heap_bytes + inShards.index_bytes, rows: inShards.rows },
      ];
    }),
  );
};
