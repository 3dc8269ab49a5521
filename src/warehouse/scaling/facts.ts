/** What a warehouse on one machine is made of, as far as deciding about several needs it: sizes, growth, settings, a sample. */
import { sql } from 'kysely';
import { on, type Client } from '../../db/query.ts';
import { readWeeks } from '../partitions/weeks.ts';

/** One week of a set. */
export interface WeekFacts {
  readonly name: string;
  readonly lower: Date;
  readonly upper: Date;
  readonly leaves: number;
  /** As of the last ANALYZE; null before it. */
  readonly rows: number | null;
  readonly heap_bytes: number;
  readonly index_bytes: number;
}

/** A table that would have to be copied. */
export interface TableFacts {
  readonly name: string;
  /** Schema-qualified and quoted where needed. */
  readonly qualified: string;
  /** The same of each column that is stored, in order. */
  readonly columns: readonly string[];
}

/** A managed set. */
export interface SetFacts extends TableFacts {
  readonly time_column: string;
  readonly hash_column: string | null;
  /** Whether the hash column is bytea, and so an account of ours. */
  readonly hashes_bytes: boolean;
  /** Whole weeks that retention keeps; null for all. */
  readonly retain_weeks: number | null;
  readonly weeks: readonly WeekFacts[];
}

/** The server. */
export interface ServerFacts {
  readonly version: string;
  readonly database_bytes: number;
  readonly state_bytes: number;
  readonly max_locks_per_transaction: number;
  /** Locks that the shared table holds. */
  readonly lock_capacity: number;
  readonly streams: number;
}

/** Accounts in a sample of one week's rows, those with the most rows first. */
export interface Skew {
  readonly week: string;
  readonly sampled: number;
  readonly accounts: number;
  readonly top: readonly { readonly account: string; readonly rows: number }[];
}

/** All of it. */
export interface TopologyFacts {
  readonly server: ServerFacts;
  readonly sets: readonly SetFacts[];
  /** Tables of `rows` streams that are no managed sets. */
  readonly others: readonly TableFacts[];
  /** Names of loaded label files. */
  readonly labels: readonly string[];
  /** Null where there is nothing to sample. */
  readonly skew: Skew | null;
}

/** Reads it all; catalog reads, but for a sample of at most {@link SAMPLE_PAGES} pages. */
export const readTopologyFacts = async (client: Client): Promise<TopologyFacts> => {
  const sets = await readSets(client);
  return {
    server: await readServer(client),
    sets,
    others: await readOthers(client),
    labels: await readLabels(client),
    skew: await readSkew(client, sets),
  };
};

const readServer = async (client: Client): Promise<ServerFacts> => {
  const { rows } = await sql<ServerFacts>`
    select current_setting('server_version') as version, pg_database_size(current_database()) as database_bytes,
           (select coalesce(sum(pg_total_relation_size(t.relid)), 0)::bigint
              from pg_partition_tree('strata.account_balances_current') t where t.isleaf) as state_bytes,
           current_setting('max_locks_per_transaction')::int as max_locks_per_transaction,
           current_setting('max_locks_per_transaction')::bigint
             * (current_setting('max_connections')::int + current_setting('max_prepared_transactions')::int) as lock_capacity,
           (select count(*)::int from strata.streams where load <> 'rows') as streams`.execute(on(client));
  return rows[0]!;
};

/** Columns that a COPY may name: no generated ones. */
const COLUMNS = sql`(select array_agg(format('%I', a.attname) order by a.attnum) from pg_attribute a
  where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = '')`;

const readSets = async (client: Client): Promise<SetFacts[]> => {
  const { rows } = await sql<Omit<SetFacts, 'weeks'>>`
    select s.set_name as name, format('%I.%I', n.nspname, c.relname) as qualified, ${COLUMNS} as columns, format('%I', s.time_column) as time_column,
           case when s.layout = 'hash' then format('%I', s.hash_column) end as hash_column,
           (select a.atttypid = 'bytea'::regtype from pg_attribute a where a.attrelid = c.oid and a.attname = s.hash_column) as hashes_bytes,
           ceil(extract(epoch from s.retain) / 604800)::int as retain_weeks
      from strata.partition_sets s join pg_class c on c.oid = s.parent join pg_namespace n on n.oid = c.relnamespace
     order by s.set_name`.execute(on(client));
  const sets: SetFacts[] = [];
  for (const row of rows) {
    const weeks = (await readWeeks(client, row.name)).flatMap(({ lower, upper, ...week }) =>
      lower === null || upper === null ? [] : [{ ...week, lower, upper }],
    );
    sets.push({ ...row, weeks });
  }
  return sets;
};

const readOthers = async (client: Client): Promise<TableFacts[]> => {
  const { rows } = await sql<TableFacts>`
    select c.relname as name, format('%I.%I', n.nspname, c.relname) as qualified, ${COLUMNS} as columns
      from (select distinct to_regclass(target) as oid from strata.streams where load = 'rows') t
      join pg_class c on c.oid = t.oid join pg_namespace n on n.oid = c.relnamespace
     where not exists (select from strata.partition_sets s where s.parent = c.oid)
     order by c.relname`.execute(on(client));
  return rows;
};

const readLabels = async (client: Client): Promise<string[]> => {
  const { rows } = await sql<{
    label_name: string;
  }>`select label_name from strata.labels order by label_name`.execute(on(client));
  return rows.map((row) => row.label_name);
};

/** 16 MB: a second of the slowest disk. */
const SAMPLE_PAGES = 2000;
const PAGE_BYTES = 8192;
const TOP = 10;

/** The week with the most bytes that has an account to hash by. */
const readSkew = async (client: Client, sets: readonly SetFacts[]): Promise<Skew | null> => {
  const [largest] = sets
    .flatMap((set) => set.weeks.map((week) => ({ set, week })))
    .filter(({ set, week }) => set.hash_column !== null && week.heap_bytes > 0)
    .toSorted((a, b) => b.week.heap_bytes - a.week.heap_bytes);
  if (largest === undefined) return null;
  const { set, week } = largest;
  const percent = Math.min(100, (SAMPLE_PAGES * PAGE_BYTES * 100) / week.heap_bytes);
  const column = sql.raw(set.hash_column!);
  const account = set.hashes_bytes ? sql`strata.account_text(${column})` : sql`${column}::text`;
  const { rows } = await sql<{ account: string; rows: number; sampled: number; accounts: number }>`
    select ${account} as account, drawn.rows, drawn.sampled, drawn.accounts
      from (select ${column}, count(*)::int as rows, sum(count(*)) over ()::int as sampled, (count(*) over ())::int as accounts
              from ${sql.raw(set.qualified)} tablesample system (${percent})
             where ${sql.raw(set.time_column)} >= ${week.lower}::timestamptz and ${sql.raw(set.time_column)} < ${week.upper}::timestamptz
             group by 1 order by 2 desc limit ${TOP}) drawn
     order by drawn.rows desc`.execute(on(client));
  const [first] = rows;
  return first === undefined
    ? null
    : {
        week: week.name,
        sampled: first.sampled,
        accounts: first.accounts,
        top: rows.map(({ account, rows }) => ({ account, rows })),
      };
};
