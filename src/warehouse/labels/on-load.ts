/**
 * Labels joined while rows are loaded.
 *
 * ```
 *   small:  rows + fields of strata.labels_*, kept in memory ──COPY──► the stream's table
 *   large:  COPY ──► pg_temp.<stage> ──insert … select … join strata.labels_*──► the stream's table
 *   either: rows without a label, counted per batch ──► pg_temp.label_misses ──► ledger
 * ```
 *
 * Either way a write sees the labels of one snapshot: those that are replaced meanwhile whole, old or new. The key of a label
 * table is its primary key, so no join doubles a row; only an inner one leaves rows out, and says how many.
 */
import { createHash } from 'node:crypto';
import { sql } from 'kysely';
import type { CopyColumn } from '../../arrow/copy.ts';
import { recycleFrame } from '../../arrow/frame.ts';
import type { PgType } from '../../arrow/types.ts';
import { copyIn } from '../../db/copy-in.ts';
import { on, type Client, type Pool } from '../../db/query.ts';
import type { RowsConfig } from '../../runtime/config.ts';
import { WarehouseError } from '../../runtime/errors.ts';
import type { LabelCount, SettledEntry } from '../datasets.ts';
import { BATCH_COLUMN, tableName } from '../target-table.ts';
import type { LabelType } from './column-types.ts';
import {
  createLabelMemory,
  LABEL_MEMORY_BYTES,
  type LabelTails,
  type MemoryJoin,
  type Misses,
} from './in-memory.ts';
import { chooseColumns, keyOf, type JoinedColumn } from './joins.ts';
import { KEY_COLUMN, labelTable, requireLabels } from './registry.ts';

/** One label table that a stream joins. */
export interface LabelJoin {
  readonly label: string;
  readonly inner: boolean;
  /** The column of the stream's table that holds the account. */
  readonly column: string;
  readonly columns: readonly JoinedColumn[];
}

/** How a stream with labels writes its rows. */
export interface LabelledWrite {
  /**
   * Writes rows into the table, with their labels.
   *
   * @param encode gives the rows as frames, with these labels behind their own fields where there are such
   */
  write(client: Client, encode: (tails: LabelTails | null) => Iterable<Buffer>): Promise<void>;
  /** Brings the ledger rows of this transaction up to date. */
  settle(client: Client, entries: readonly SettledEntry[]): Promise<LabelCount>;
}

/** Memory for the hash of a label table: a million short labels. */
const JOIN_MEMORY_BYTES = 128 * 1024 * 1024;

/**
 * The label tables a stream joins, as its configuration has them.
 *
 * @throws WarehouseError `config` for labels or columns that are not there, or names that come twice
 */
export const openLabelJoins = async (
  pool: Pool,
  stream: string,
  config: RowsConfig,
): Promise<LabelJoin[]> => {
  const joins: LabelJoin[] = [];
  const seen = new Set<string>();
  for (const { name, join, on: column, columns, prefix } of config.labels ?? []) {
    const chosen = chooseColumns(await requireLabels(pool, name), columns ?? null, prefix);
    const twice = chosen.find(({ target }) => seen.has(target));
    if (twice !== undefined)
      throw new WarehouseError('config', `two labels bring a column ${twice.target}`, {
        stream,
        column: twice.target,
        remedy: `Give one of them a \`prefix\`, or choose its \`columns\`.`,
      });
    for (const { target } of chosen) seen.add(target);
    joins.push({ label: name, inner: join === 'inner', column, columns: chosen });
  }
  return joins;
};

/**
 * Plans the writing of a stream's rows with their labels.
 *
 * @param columns what the COPY brings, as columns of the stream's table
 * @param targetTypes types of the columns that labels bring, in the stream's table
 * @param memoryBytes up to which a label table is kept in memory
 * @throws WarehouseError `config` for a join by a column that holds no account
 */
export const planLabelledWrite = (
  pool: Pool,
  config: RowsConfig,
  columns: readonly CopyColumn[],
  joins: readonly LabelJoin[],
  targetTypes: ReadonlyMap<string, PgType>,
  memoryBytes = LABEL_MEMORY_BYTES,
): LabelledWrite => {
  const name = tableName(config.table);
  const target = sql.id(name.schema, name.table);
  const shape = JSON.stringify([name, columns.map(({ name, pgType }) => [name, pgType])]);
  const stageName = `label_stage_${createHash('sha256').update(shape).digest('hex').slice(0, 16)}`;
  const stage = sql.id('pg_temp', stageName);
  const types = new Map(columns.map((column) => [column.name, column.pgType]));
  const keys = joins.map(({ column }) =>
    keyOf('s', column, types.get(column), `the query of ${config.table}`),
  );
  const key = (index: number) => sql`${sql.id(`l${index}`, KEY_COLUMN)}`;
  const joined = (isInner: (join: LabelJoin) => boolean) =>
    sql.join(
      joins.map(
        (join, index) =>
          sql`${sql.raw(isInner(join) ? 'inner' : 'left')} join ${labelTable(join.label)} ${sql.id(`l${index}`)} on ${key(index)} = ${keys[index]!}`,
      ),
      sql` `,
    );
  const missing = (of: (join: LabelJoin) => boolean) => {
    const nulls = joins.flatMap((join, index) => (of(join) ? [sql`${key(index)} is null`] : []));
    return nulls.length === 0 ? sql`false` : sql`(${sql.join(nulls, sql` or `)})`;
  };
  const copied = columns.map((column) => sql.id(column.name));
  const brought = joins.flatMap(({ columns }) => columns.map((column) => sql.id(column.target)));
  const values = [
    ...columns.map((column) => sql.id('s', column.name)),
    ...joins.flatMap((join, index) => join.columns.map((column) => sql.id(`l${index}`, column.source))),
  ];
  const open = sql`select strata.open_label_stage(${stageName}, ${sql.lit(`"${name.schema}"."${name.table}"`)}::regclass,
    ${sql.lit(`{${columns.map((column) => `"${column.name}"`).join(',')}}`)}::text[], ${JOIN_MEMORY_BYTES})`;
  const insert = sql`
    with missed as (
      insert into pg_temp.label_misses
      select s.${sql.id(BATCH_COLUMN)}, count(*), count(*) filter (where ${missing((join) => join.inner)})
        from ${stage} s ${joined(() => false)} where ${missing(() => true)} group by 1
    )
    insert into ${target} (${sql.join([...copied, ...brought])})
    select ${sql.join(values)} from ${stage} s ${joined((join) => join.inner)}`;
  const copyOf = (into: typeof stage, names: typeof copied): string =>
    sql`copy ${into} (${sql.join(names)}) from stdin (format binary)`.compile(on(pool)).sql;
  const copyStaged = copyOf(stage, copied);
  const copyWhole = copyOf(target, [...copied, ...brought]);
  const memory = createLabelMemory(
    joins.map((join) => inMemory(join, columns, targetTypes)),
    memoryBytes,
  );
  const copy = (client: Client, statement: string, frames: Iterable<Buffer>): Promise<number> =>
    copyIn(client, statement, frames, { onSent: recycleFrame });
  return {
    write: async (client, encode) => {
      const tails = await memory.open(client);
      if (tails === null) {
        await open.execute(on(client));
        await copy(client, copyStaged, encode(null));
        await insert.execute(on(client));
        return;
      }
      await copy(client, copyWhole, encode(tails));
      if (tails.misses.size === 0) return;
      await open.execute(on(client));
      await recordMisses(client, tails.misses);
    },
    settle: async (client, entries) => {
      await open.execute(on(client)); // a transaction without rows has made no stage
      return settle(client, entries);
    },
  };
};

/** A join as {@link createLabelMemory} wants it: by the query's column, to the types of the table. */
const inMemory = (
  join: LabelJoin,
  columns: readonly CopyColumn[],
  targetTypes: ReadonlyMap<string, PgType>,
): MemoryJoin => {
  const source = columns.find(({ name }) => name === join.column)?.source;
  return {
    label: join.label,
    inner: join.inner,
    source: typeof source === 'string' ? source : join.column,
    columns: join.columns.map((column) => ({
      ...column,
      type: (targetTypes.get(column.target) ?? column.type) as LabelType,
    })),
  };
};

const recordMisses = async (client: Client, misses: ReadonlyMap<bigint, Misses>): Promise<void> => {
  const rows = [...misses].map(([id, { unmatched, dropped }]) => ({ id: String(id), unmatched, dropped }));
  await sql`
    insert into pg_temp.label_misses
    select * from unnest(${rows.map(({ id }) => id)}::bigint[], ${rows.map(({ unmatched }) => unmatched)}::bigint[], ${rows.map(({ dropped }) => dropped)}::bigint[])`.execute(
    on(client),
  );
};

const settle = async (client: Client, entries: readonly SettledEntry[]): Promise<LabelCount> => {
  const sources = entries.map(({ sourceId }) => sourceId);
  const starts = entries.map(({ range }) => range.start);
  const { rows } = await sql<LabelCount>`
    with settled as (
      select b.source_id, b.start_block, coalesce(sum(m.unmatched), 0)::bigint as unmatched, coalesce(sum(m.dropped), 0)::bigint as dropped
        from unnest(${sources}::smallint[], ${starts}::bigint[]) e(source_id, start_block)
        join strata.stream_batches b using (source_id, start_block)
        left join pg_temp.label_misses m on m.batch_id = b.batch_id
       group by 1, 2
    ), updated as (
      update strata.stream_batches b set row_count = b.row_count - s.dropped, unmatched = s.unmatched, dropped = s.dropped
        from settled s where b.source_id = s.source_id and b.start_block = s.start_block
      returning s.unmatched, s.dropped
    )
    select coalesce(sum(unmatched), 0)::bigint as unmatched, coalesce(sum(dropped), 0)::bigint as dropped from updated`.execute(
    on(client),
  );
  return rows[0] ?? { unmatched: 0, dropped: 0 };
};
