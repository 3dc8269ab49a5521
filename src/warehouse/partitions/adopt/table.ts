/** The table that is to be adopted, as the catalog has it. */
import { sql } from 'kysely';
import { on, type Client, type Pool } from '../../../db/query.ts';
import { WarehouseError } from '../../../runtime/errors.ts';

/** A table by its names, none of them quoted. */
export interface TableName {
  readonly oid: number;
  readonly schema: string;
  readonly table: string;
}

/**
 * Finds a table by name. Without a schema it is looked for in all but our own, because ours has an account_balances, too.
 *
 * @throws WarehouseError `usage` when there is none, or more than one
 */
export const findTable = async (database: Pool | Client, name: string): Promise<TableName> => {
  const { rows } = await sql<TableName>`
    with asked as (select parse_ident(${name}) as parts)
    select c.oid, n.nspname as schema, c.relname as table
      from asked
      join pg_class c on c.relname = parts[cardinality(parts)] and c.relkind in ('r', 'p', 'v', 'm', 'f')
      join pg_namespace n on n.oid = c.relnamespace
     where case cardinality(parts) when 1 then n.nspname !~ '^(pg_|information_schema$|strata$|strata_held$)'
                                   when 2 then n.nspname = parts[1] else false end
     order by n.nspname`.execute(on(database));
  const [found, another] = rows;
  if (found !== undefined && another === undefined) return found;
  throw new WarehouseError(
    'usage',
    found === undefined ? `there is no table ${name}` : `${rows.length} tables are called ${name}`,
    {
      remedy:
        found === undefined
          ? 'Name it as schema.table; the tables of schema strata are managed already.'
          : `Name one of them: ${rows.map(({ schema, table }) => `${schema}.${table}`).join(', ')}.`,
    },
  );
};

/** An index of the table. */
export interface IndexInfo {
  readonly name: string;
  readonly primary: boolean;
  readonly unique: boolean;
  /** A constraint's index: p or u. */
  readonly constraint: 'p' | 'u' | null;
  /** Key columns in order; null for an expression. */
  readonly columns: readonly (string | null)[];
  readonly included: readonly string[];
  readonly partial: boolean;
  /** Whether all its key columns are NOT NULL. */
  readonly given: boolean;
  /** What CREATE INDEX says behind USING. */
  readonly tail: string;
  /** `with (…)`, or empty. */
  readonly options: string;
  /** `deferrable …`, or empty. */
  readonly deferral: string;
  readonly comment: string | null;
}

/** All valid indexes, the primary key first. */
export const readIndexes = async (
  database: Pool | Client,
  { oid }: TableName,
): Promise<readonly IndexInfo[]> => {
  const { rows } = await sql<IndexInfo>`
    select c.relname as name, i.indisprimary as primary, i.indisunique as unique, k.contype as constraint,
           array(select a.attname::text from unnest(i.indkey[:i.indnkeyatts - 1]) with ordinality u(num, place)
                   left join pg_attribute a on a.attrelid = i.indrelid and a.attnum = u.num and u.num > 0 order by u.place) as columns,
           array(select a.attname::text from unnest(i.indkey[i.indnkeyatts:]) with ordinality u(num, place)
                   join pg_attribute a on a.attrelid = i.indrelid and a.attnum = u.num order by u.place) as included,
           i.indpred is not null as partial,
           not exists (select from unnest(i.indkey[:i.indnkeyatts - 1]) u(num)
                         left join pg_attribute a on a.attrelid = i.indrelid and a.attnum = u.num and u.num > 0
                        where a.attnotnull is not true) as given,
           -- What pg_get_indexdef() says before the access method, to the letter.
           substr(pg_get_indexdef(c.oid), 1 + length(concat('CREATE ', case when i.indisunique then 'UNIQUE ' end, 'INDEX ',
             quote_ident(c.relname), ' ON ', format('%I.%I', n.nspname, t.relname), ' USING '))) as tail,
           coalesce(' with (' || (select string_agg(format('%I = %L', o.option_name, o.option_value), ', ')
                                    from pg_options_to_table(c.reloptions) o) || ')', '') as options,
           concat(case when k.condeferrable then ' deferrable' end, case when k.condeferred then ' initially deferred' end) as deferral,
           coalesce(obj_description(k.oid, 'pg_constraint'), obj_description(c.oid, 'pg_class')) as comment
      from pg_index i
      join pg_class c on c.oid = i.indexrelid
      join pg_class t on t.oid = i.indrelid
      join pg_namespace n on n.oid = t.relnamespace
      left join pg_constraint k on k.conindid = c.oid and k.conrelid = t.oid and k.contype in ('p', 'u')
     where i.indrelid = ${oid}::oid and i.indisvalid and not i.indisexclusion
     order by i.indisprimary desc, c.relname`.execute(on(database));
  return rows;
};

/** A sequence that belongs to a column. */
export interface SequenceInfo {
  readonly column: string;
  readonly name: string;
  /** ALWAYS or BY DEFAULT for an identity column; null for one that a default reads. */
  readonly identity: 'always' | 'by default' | null;
  /** How an identity sequence counts, as it stands in `generated … as identity (…)`. */
  readonly counting: string;
  /** Whom it is granted to, as `usage to role`. */
  readonly grants: readonly string[];
}

/** The sequences that the table owns. */
export const readSequences = async (
  database: Pool | Client,
  { oid }: TableName,
): Promise<readonly SequenceInfo[]> => {
  const { rows } = await sql<SequenceInfo>`
    select a.attname as column, c.relname as name,
           case a.attidentity when 'a' then 'always' when 'd' then 'by default' end as identity,
           format('increment by %s minvalue %s maxvalue %s start with %s cache %s %s', s.seqincrement, s.seqmin, s.seqmax, s.seqstart, s.seqcache,
             case when s.seqcycle then 'cycle' else 'no cycle' end) as counting,
           array(select concat(lower(x.privilege_type), '|', strata.role_text(x.grantee), case when x.is_grantable then ' with grant option' end)
                   from aclexplode(c.relacl) x where x.grantee <> c.relowner) as grants
      from pg_depend d
      join pg_class c on c.oid = d.objid and c.relkind = 'S'
      join pg_sequence s on s.seqrelid = c.oid
      join pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
     where d.classid = 'pg_class'::regclass and d.refclassid = 'pg_class'::regclass and d.refobjid = ${oid}::oid and d.deptype in ('a', 'i')
     order by a.attnum`.execute(on(database));
  return rows;
};

/** How big the table is and how it is stored. */
export interface TableSize {
  readonly rows: number | null;
  readonly bytes: number;
  readonly heap_bytes: number;
  readonly pages: number;
  /** Storage parameters that partitions do not take over. */
  readonly parameters: readonly string[];
}

/** Reads it. */
export const readSize = async (database: Pool | Client, { oid }: TableName): Promise<TableSize> => {
  const { rows } = await sql<TableSize>`
    select case when c.reltuples >= 0 then c.reltuples::bigint end as rows, pg_total_relation_size(c.oid) as bytes,
           pg_relation_size(c.oid) as heap_bytes, pg_relation_size(c.oid) / current_setting('block_size')::int as pages,
           array(select format('%s=%s', o.option_name, o.option_value) from pg_options_to_table(c.reloptions) o
                  where o.option_name <> 'fillfactor') as parameters
      from pg_class c where c.oid = ${oid}::oid`.execute(on(database));
  const [row] = rows;
  if (row === undefined) throw new WarehouseError('conflict', 'the table is gone', { remedy: 'Plan again.' });
  return row;
};
