/**
 * What is copied from where to where while writers go on; capture, copy, replay and proof all work on this and know nothing
 * of weeks, so that anything can be rebuilt under its writers.
 *
 * ```
 *   writers ──► source ──trigger──► key log
 *                 │ copy               │ replay: delete these keys, insert them again from the source
 *                 ▼                    ▼
 *               target ◄───────────────┘
 * ```
 *
 * It is exact for one reason: the log says only *which* keys changed, and each replay takes their rows from the source as they
 * are by then. Replaying a key twice, late, or after the copy has seen it changes nothing.
 */
import { sql } from 'kysely';
import { on, type Client, type Pool } from '../../../db/query.ts';
import { identifier } from '../../../db/quote.ts';
import { WarehouseError } from '../../../runtime/errors.ts';

/** A copy; all names are ready to stand in SQL. */
export interface CopySpec {
  /** Where writers write meanwhile: a table, or a partitioned one. */
  readonly source: string;
  /** The tables that hold its rows; the source itself where it is not partitioned. */
  readonly parts: readonly string[];
  readonly target: string;
  /** Columns of the key by which rows are known; none is ever null. */
  readonly keys: readonly string[];
  /** Columns to copy: all but generated ones. */
  readonly columns: readonly string[];
  /** Expressions over a row `t` that together say all it holds, each of a type that can be hashed. */
  readonly contents: readonly string[];
  /** The key log, and the trigger function of the same name. */
  readonly log: string;
  /** Name of its triggers where others may be on the same tables; the usual one by default. */
  readonly trigger?: string;
}

/** Columns of a table as a copy needs them. */
export type CopyColumns = Pick<CopySpec, 'keys' | 'columns' | 'contents'>;

/** Types whose equal values have equal hashes; all others are compared as text. */
const HASHED_TYPES = [
  'bool',
  'bytea',
  'date',
  'float4',
  'float8',
  'int2',
  'int4',
  'int8',
  'interval',
  'numeric',
  'oid',
  'text',
  'time',
  'timestamp',
  'timestamptz',
  'uuid',
  'varchar',
];

/**
 * Reads the columns of a table and its primary key.
 *
 * @param qualified ready to stand in SQL
 * @param known names of the columns of another key to go by
 * @throws WarehouseError `config` when it has no primary key
 */
export const readColumns = async (
  database: Pool | Client,
  qualified: string,
  known?: readonly string[],
): Promise<CopyColumns> => {
  const { rows } = await sql<{ name: string; type: string; generated: boolean; key: number | null }>`
    select a.attname as name, t.typname as type, a.attgenerated <> '' as generated, array_position(k.conkey, a.attnum) as key
      from pg_attribute a
      join pg_type t on t.oid = a.atttypid
      left join pg_constraint k on k.conrelid = a.attrelid and k.contype = 'p'
     where a.attrelid = ${qualified}::regclass and a.attnum > 0 and not a.attisdropped
     order by a.attnum`.execute(on(database));
  const primary = rows
    .filter((row) => row.key !== null)
    .toSorted((a, b) => (a.key ?? 0) - (b.key ?? 0))
    .map((row) => row.name);
  const keys = (known ?? primary).map(identifier);
  if (keys.length === 0) {
    throw new WarehouseError('config', `${qualified} has no primary key to follow changes by`, {
      remedy: 'Add a PRIMARY KEY.',
    });
  }
  return {
    keys,
    columns: rows.filter((row) => !row.generated).map((row) => identifier(row.name)),
    contents: rows.map((row) =>
      HASHED_TYPES.includes(row.type) ? `t.${identifier(row.name)}` : `t.${identifier(row.name)}::text`,
    ),
  };
};
