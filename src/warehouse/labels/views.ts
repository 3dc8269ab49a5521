/** Labels joined by a view, for any table at any time: `<table>_with_<labels>`. */
import { sql } from 'kysely';
import { on, type Client, type Pool } from '../../db/query.ts';
import { withTransaction } from '../../db/pool.ts';
import { WarehouseError } from '../../runtime/errors.ts';
import { tableName, type TableName } from '../target-table.ts';
import { chooseColumns, keyOf } from './joins.ts';
import { grantSelect, KEY_COLUMN, labelTable, requireLabels } from './registry.ts';

/** A view over labels. */
export interface LabelView {
  readonly view: TableName;
  readonly label: string;
  readonly base: TableName;
  /** The column of the base that holds the account. */
  readonly column: string;
  readonly join: 'left' | 'inner';
  /** Columns of the labels; null for all. */
  readonly columns: readonly string[] | null;
  readonly prefix: string;
}

/** How labels are to be joined. */
export interface JoinLabelsOptions {
  readonly label: string;
  /** `table` or `schema.table`; views, too. */
  readonly table: string;
  readonly column?: string;
  /** Leave rows without a label out. */
  readonly inner?: boolean;
  readonly columns?: readonly string[];
  readonly prefix?: string;
  /** Count the rows with and without a label; reads the whole table. */
  readonly count?: boolean;
}

/** A view that was made. */
export interface JoinedLabels {
  /** `schema.view`. */
  readonly view: string;
  /** Its columns that come from the labels. */
  readonly columns: readonly string[];
  readonly rows: number | null;
  readonly unmatched: number | null;
}

/** PostgreSQL cuts longer names. */
const NAME_BYTES_MAX = 63;

/**
 * Makes the view, or makes it anew.
 *
 * @throws WarehouseError `config` for tables, labels and columns that are not there, `conflict` for a name that is taken
 */
export const joinLabels = (pool: Pool, options: JoinLabelsOptions): Promise<JoinedLabels> =>
  withTransaction(pool, async (client) => {
    const { label, column = KEY_COLUMN, inner = false, columns = null, prefix = '', count = false } = options;
    await requireLabels(client, label);
    const base = tableName(options.table);
    const name = `${base.table}_with_${label}`;
    if (Buffer.byteLength(name) > NAME_BYTES_MAX)
      throw new WarehouseError(
        'usage',
        `the name of the view, ${name}, is longer than ${NAME_BYTES_MAX} bytes`,
        {
          remedy: 'Load the labels under a shorter name.',
        },
      );
    const view: LabelView = {
      view: { schema: base.schema, table: name },
      label,
      base,
      column,
      join: inner ? 'inner' : 'left',
      columns,
      prefix,
    };
    await refuseTaken(client, view);
    await dropView(client, view);
    const made = await createView(client, view);
    await register(client, view);
    const counted = count ? await countMatches(client, view) : { rows: null, unmatched: null };
    return { view: `${base.schema}.${name}`, columns: made, ...counted };
  });

const register = async (client: Client, view: LabelView): Promise<void> => {
  const row = {
    label_name: view.label,
    base_schema: view.base.schema,
    base_name: view.base.table,
    join_column: view.column,
    join_type: view.join,
    columns: view.columns === null ? null : JSON.stringify(view.columns),
    prefix: view.prefix,
  };
  await on(client)
    .insertInto('label_views')
    .values({ view_schema: view.view.schema, view_name: view.view.table, ...row })
    .onConflict((conflict) => conflict.columns(['view_schema', 'view_name']).doUpdateSet(row))
    .execute();
};

/** Refuses the name of something that is not a view of ours. */
const refuseTaken = async (client: Client, { view }: LabelView): Promise<void> => {
  const { rows } = await sql<{ ours: boolean }>`
    select c.relkind = 'v' and exists (select from strata.label_views v where v.view_schema = ${view.schema} and v.view_name = ${view.table}) as ours
      from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
     where n.nspname = ${view.schema} and c.relname = ${view.table}`.execute(on(client));
  if (rows[0]?.ours !== false) return;
  throw new WarehouseError(
    'conflict',
    `${view.schema}.${view.table} is there already, and is no view of labels`,
    {
      remedy: 'Rename it or drop it.',
    },
  );
};

/** Columns of the base with their types, in its order. */
const baseColumns = async (client: Client, { schema, table }: TableName): Promise<Map<string, string>> => {
  const { rows } = await sql<{ name: string; type: string }>`
    select a.attname::text as name, format_type(a.atttypid, null) as type
      from pg_catalog.pg_attribute a
      join pg_catalog.pg_class c on c.oid = a.attrelid
      join pg_catalog.pg_namespace n on n.oid = c.relnamespace
     where n.nspname = ${schema} and c.relname = ${table} and a.attnum > 0 and not a.attisdropped order by a.attnum`.execute(
    on(client),
  );
  return new Map(rows.map(({ name, type }) => [name, type]));
};

const fromClause = (view: LabelView, type: string | undefined) =>
  sql`${sql.id(view.base.schema, view.base.table)} t ${sql.raw(view.join)} join ${labelTable(view.label)} l
      on l.${sql.id(KEY_COLUMN)} = ${keyOf('t', view.column, type, `${view.base.schema}.${view.base.table}`)}`;

/** Creates the view; returns its columns that come from the labels. */
export const createView = async (client: Client, view: LabelView): Promise<string[]> => {
  const labels = await requireLabels(client, view.label);
  const base = await baseColumns(client, view.base);
  const name = `${view.base.schema}.${view.base.table}`;
  if (base.size === 0)
    throw new WarehouseError('config', `there is no table ${name}`, {
      remedy: 'Name it as schema.table; the table of a stream is made when it is first loaded.',
    });
  const columns = chooseColumns(labels, view.columns, view.prefix);
  const clash = columns.find(({ target }) => base.has(target));
  if (clash !== undefined)
    throw new WarehouseError('config', `${name} has a column ${clash.target} already`, {
      column: clash.target,
      remedy: `Give the labels' columns a prefix, such as --prefix ${view.label}_, or choose others.`,
    });
  const list = columns.map(({ source, target }) => sql`l.${sql.id(source)} as ${sql.id(target)}`);
  const relation = sql.id(view.view.schema, view.view.table);
  await sql`create view ${relation} with (security_invoker = true) as
    select ${sql.join([sql`t.*`, ...list])} from ${fromClause(view, base.get(view.column))}`.execute(
    on(client),
  );
  await sql`comment on view ${relation} is ${sql.lit(`${name} with labels ${view.label}, made by pgstrata labels join`)}`.execute(
    on(client),
  );
  if (view.view.schema === 'strata') await grantSelect(client, relation);
  return columns.map(({ target }) => target);
};

/** Drops the view if it is there. */
export const dropView = async (client: Client, { view }: LabelView): Promise<void> => {
  await sql`drop view if exists ${sql.id(view.schema, view.table)}`.execute(on(client));
};

const countMatches = async (
  client: Client,
  view: LabelView,
): Promise<{ rows: number; unmatched: number }> => {
  const base = await baseColumns(client, view.base);
  const from = fromClause({ ...view, join: 'left' }, base.get(view.column));
  const { rows } = await sql<{ rows: number; unmatched: number }>`
    select count(*) as rows, count(*) filter (where l.${sql.id(KEY_COLUMN)} is null) as unmatched from ${from}`.execute(
    on(client),
  );
  return rows[0] ?? { rows: 0, unmatched: 0 };
};

/** The views of ours over these labels that are there. */
export const viewsOfLabels = async (client: Client, label: string): Promise<LabelView[]> => {
  const rows = await on(client)
    .selectFrom('label_views')
    .selectAll()
    .where('label_name', '=', label)
    .where(sql<boolean>`to_regclass(format('%I.%I', view_schema, view_name)) is not null`)
    .orderBy('view_schema')
    .orderBy('view_name')
    .execute();
  return rows.map((row) => ({
    view: { schema: row.view_schema, table: row.view_name },
    label,
    base: { schema: row.base_schema, table: row.base_name },
    column: row.join_column,
    join: row.join_type as LabelView['join'],
    columns: row.columns as readonly string[] | null,
    prefix: row.prefix,
  }));
};
