/** A week that is, or is to be, consolidated: what the catalog and the journal say, with all names that follow from it. */
import { sql } from 'kysely';
import { on, type Client, type Pool } from '../../../db/query.ts';
import { identifier, literal } from '../../../db/quote.ts';
import { WarehouseError } from '../../../runtime/errors.ts';
import type { HeapOrder } from './copy.ts';
import { readColumns, type CopySpec } from './copy-spec.ts';

/** Where weeks are kept that were taken out. */
export const HELD_SCHEMA = 'strata_held';

/** A week and its copy. */
export interface ConsolidationWeek {
  readonly set: string;
  /** First instant, as ISO text and as a literal in SQL. */
  readonly start: string;
  readonly lower: string;
  readonly upper: string;
  /** Ready to stand in SQL, as are all names here but `name` and `leafNames`. */
  readonly root: string;
  readonly schema: string;
  readonly name: string;
  readonly leafNames: readonly string[];
  readonly timeColumn: string;
  readonly heapOrder: HeapOrder;
  readonly hold: string;
  /** The consolidated table. */
  readonly stage: string;
  readonly stageName: string;
  /** What autovacuum_enabled is on the leaves; null for the default. */
  readonly autovacuum: string | null;
  /** Week → stage. */
  readonly forward: CopySpec;
  /** Stage → the week where it is held. */
  readonly backward: CopySpec;
}

interface WeekRow {
  readonly root: string;
  readonly schema: string;
  readonly name: string;
  readonly leaves: readonly string[];
  readonly time_column: string;
  readonly heap_order: HeapOrder;
  readonly hold: string;
  readonly autovacuum: string | null;
}

/** Which week, and which schema it belongs to when it is held and so lies in another. */
export interface WeekPlace {
  readonly oid: number;
  readonly lower: Date;
  readonly upper: Date;
  readonly schema?: string;
}

/**
 * Reads a week by its oid.
 *
 * @throws WarehouseError `conflict` when it is gone
 */
export const readWeek = async (
  database: Pool | Client,
  set: string,
  place: WeekPlace,
): Promise<ConsolidationWeek> => {
  const { rows } = await sql<WeekRow>`
    select format('%I.%I', rn.nspname, r.relname) as root, n.nspname as schema, c.relname as name, s.time_column, s.heap_order,
           s.hold::text as hold, l.leaves, l.autovacuum
      from strata.partition_sets s
      join pg_class r on r.oid = s.parent
      join pg_namespace rn on rn.oid = r.relnamespace
      join pg_class c on c.oid = ${place.oid}
      join pg_namespace n on n.oid = c.relnamespace
     cross join lateral (
       select array_agg(leaf.relname::text order by leaf.oid) as leaves,
              min((select o.option_value from pg_options_to_table(leaf.reloptions) o where o.option_name = 'autovacuum_enabled')) as autovacuum
         from pg_inherits i
         join pg_class leaf on leaf.oid = i.inhrelid
        where i.inhparent = c.oid
     ) l
     where s.set_name = ${set}`.execute(on(database));
  const [row] = rows;
  if (row === undefined) {
    throw new WarehouseError('conflict', `the week of ${place.lower.toISOString()} of ${set} is gone`, {
      remedy: 'Plan again.',
    });
  }
  return describe(set, place, row, await readColumns(database, row.root));
};

const describe = (
  set: string,
  { lower, upper, schema }: WeekPlace,
  row: WeekRow,
  columns: Pick<CopySpec, 'keys' | 'columns' | 'contents'>,
): ConsolidationWeek => {
  const home = schema ?? row.schema;
  const at = (where: string, name: string): string => `${identifier(where)}.${identifier(name)}`;
  const stageName = `${row.name}_consolidated`;
  const stage = at(home, stageName);
  const logs = {
    forward: at(HELD_SCHEMA, `${row.name}_capture`),
    backward: at(HELD_SCHEMA, `${row.name}_reverse`),
  };
  return {
    set,
    start: lower.toISOString(),
    lower: literal(lower.toISOString()),
    upper: literal(upper.toISOString()),
    root: row.root,
    schema: home,
    name: row.name,
    leafNames: row.leaves,
    timeColumn: identifier(row.time_column),
    heapOrder: row.heap_order,
    hold: row.hold,
    stage,
    stageName,
    autovacuum: row.autovacuum,
    forward: {
      ...columns,
      source: at(home, row.name),
      parts: row.leaves.map((leaf) => at(home, leaf)),
      target: stage,
      log: logs.forward,
    },
    backward: {
      ...columns,
      source: stage,
      parts: [stage],
      target: at(HELD_SCHEMA, row.name),
      log: logs.backward,
    },
  };
};
