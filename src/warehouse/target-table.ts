/** The table of a `rows` load: read from the catalog, or created from the Arrow schema when it is missing. */
import type { Field, Schema } from 'apache-arrow';
import { sql } from 'kysely';
import { defaultPgType, pgTypeNamed, requireConversion, type PgType } from '../arrow/types.ts';
import type { CopyColumn } from '../arrow/copy.ts';
import { lockInTransaction } from '../db/locks.ts';
import { withTransaction } from '../db/pool.ts';
import { on, type Client, type Pool } from '../db/query.ts';
import { createHistoryViews, CURRENT_COLUMN, CURRENT_DEFINITION } from './history.ts';
import type { RowsConfig } from '../runtime/config.ts';
import { WarehouseError } from '../runtime/errors.ts';
import type { JoinedColumn } from './labels/joins.ts';
import { groupsJson } from './partitions/policy.ts';

/** Columns every such table has beside those of its query: what makes it safe against reorgs. */
export const BLOCK_COLUMN = '_block_num';
export const BATCH_COLUMN = '_batch_id';

/** What the loader fills itself, whatever the query gives out under such a name. */
const SERVICE_COLUMNS = [BLOCK_COLUMN, BATCH_COLUMN, CURRENT_COLUMN];

/** A table's name in its parts. */
export interface TableName {
  readonly schema: string;
  readonly table: string;
}

/** Splits `schema.table`; a bare name is in `public`. */
export const tableName = (text: string): TableName => {
  const [first = '', second] = text.split('.');
  return second === undefined ? { schema: 'public', table: first } : { schema: first, table: second };
};

/** The column that a week is cut by, whichever the layout. */
const cutColumn = ({ hash, list }: NonNullable<RowsConfig['partition']>): string => hash ?? list ?? '';

interface CatalogColumn {
  readonly name: string;
  readonly type: string;
  readonly required: boolean;
  readonly has_default: boolean;
}

/** A column of the Arrow schema and the table column it goes to. */
interface Mapped {
  readonly target: string;
  readonly field: Field;
}

const mappedColumns = (schema: Schema, config: RowsConfig): Mapped[] => {
  const fields = new Map(schema.fields.map((field) => [field.name, field]));
  const sources = config.columns ?? Object.fromEntries(schema.fields.map(({ name }) => [name, name]));
  const keys = config.partition === undefined ? [] : [config.partition.time, cutColumn(config.partition)];
  const missing = [...Object.values(sources), ...keys.filter((key) => !Object.hasOwn(sources, key))].filter(
    (source) => !fields.has(source),
  );
  if (missing.length > 0) throw unknownColumns(missing, schema);
  return Object.entries(sources).map(([target, source]) => ({ target, field: fields.get(source)! }));
};

/** Says which columns a mapping names that the query does not give out. */
export const unknownColumns = (missing: readonly string[], schema: Schema): WarehouseError =>
  new WarehouseError('config', `the query has no column ${missing.join(', ')}`, {
    ...(missing[0] === undefined ? {} : { column: missing[0] }),
    remedy: `It gives out ${schema.fields.map((field) => field.name).join(', ')}; mend the mapping or the query.`,
  });

/**
 * Makes the target table ready and says how to fill it.
 *
 * @param blockField the query's block column; null for servers without blocks
 * @param labels columns that labels bring: added where they are missing, filled by the load, not by the COPY
 * @returns the columns of the COPY, in order
 * @throws WarehouseError `config` for a mapping that does not fit the table
 */
export const prepareTable = async (
  pool: Pool,
  schema: Schema,
  config: RowsConfig,
  blockField: string | null,
  labels: readonly JoinedColumn[] = [],
): Promise<CopyColumn[]> => {
  const name = tableName(config.table);
  const mapped = mappedColumns(schema, config);
  if (blockField !== null && !schema.fields.some((field) => field.name === blockField))
    throw unknownColumns([blockField], schema);
  refuseClash(mapped, labels, config);
  let catalog = await readCatalog(pool, name);
  if (catalog.length === 0) {
    await createTable(pool, name, mapped, config);
    catalog = await readCatalog(pool, name);
  }
  const lacking = labels.filter(({ target }) => !catalog.some((column) => column.name === target));
  if (lacking.length > 0) {
    await addColumns(pool, name, lacking);
    catalog = await readCatalog(pool, name);
  }
  if (config.reorg === 'history') await keepHistory(pool, name, catalog, config.table);
  const byName = new Map(catalog.map((column) => [column.name, column]));
  const columns: CopyColumn[] = mapped
    .filter(({ target }) => !isService(target, config))
    .map(({ target, field }) => {
      const column = byName.get(target);
      if (column === undefined)
        throw misfit(
          config.table,
          target,
          `has no column ${target}`,
          `Add it (alter table … add column), or leave it out with \`columns\`.`,
        );
      const pgType = pgTypeNamed(column.type);
      if (pgType === null)
        throw misfit(
          config.table,
          target,
          `has column ${target} of type ${column.type}, which COPY from Arrow cannot fill`,
          'Give it one of the types of the table "Arrow → PostgreSQL" in README.md.',
        );
      requireConversion(field, pgType);
      return { name: target, source: field.name, pgType, nullable: !column.required };
    });
  // A server without blocks may still have a column for them, and --from and --to cut by it.
  const block: CopyColumn['source'] = schema.fields.some((field) => field.name === config.block)
    ? config.block
    : { constant: 0 };
  columns.push(
    {
      name: BLOCK_COLUMN,
      source: block,
      pgType: serviceType(byName, config.table, BLOCK_COLUMN),
      nullable: false,
    },
    {
      name: BATCH_COLUMN,
      source: { constant: 0n },
      pgType: serviceType(byName, config.table, BATCH_COLUMN),
      nullable: false,
    },
  );
  for (const label of labels) requireSameType(config.table, byName.get(label.target)?.type, label);
  const filled = new Set([...columns.map((column) => column.name), ...labels.map(({ target }) => target)]);
  const starved = catalog.filter(
    (column) => column.required && !column.has_default && !filled.has(column.name),
  );
  if (starved[0] !== undefined)
    throw misfit(
      config.table,
      starved[0].name,
      `requires ${starved.map((column) => column.name).join(', ')}, which the query does not give`,
      'Select it in the query, or give the column a default.',
    );
  return columns;
};

const isService = (column: string, { reorg }: RowsConfig): boolean =>
  SERVICE_COLUMNS.includes(column) && (column !== CURRENT_COLUMN || reorg === 'history');

/** Refuses a table that cannot tell what is on the chain, and makes the views of one that can. */
const keepHistory = async (
  pool: Pool,
  name: TableName,
  catalog: readonly CatalogColumn[],
  table: string,
): Promise<void> => {
  const column = catalog.find((candidate) => candidate.name === CURRENT_COLUMN);
  if (column?.type !== 'boolean' || !column.has_default) {
    throw misfit(
      table,
      CURRENT_COLUMN,
      `has no column ${CURRENT_COLUMN} boolean with a default`,
      `Add it: alter table ${table} add column ${CURRENT_COLUMN} ${CURRENT_DEFINITION}. \`reorg: history\` marks rows by it.`,
    );
  }
  const columns = catalog.map((candidate) => candidate.name);
  await withTransaction(pool, async (client) => {
    await lockInTransaction(client, lockOf(name));
    await createHistoryViews(client, name, columns);
  });
};

const serviceType = (columns: ReadonlyMap<string, CatalogColumn>, table: string, name: string): PgType => {
  if (columns.get(name)?.type === 'bigint') return 'bigint';
  throw misfit(
    table,
    name,
    `has no column ${name} bigint`,
    `Add it: alter table ${table} add column ${name} bigint. A reorg deletes rows by it.`,
  );
};

const misfit = (table: string, column: string, what: string, remedy: string): WarehouseError =>
  new WarehouseError('config', `table ${table} ${what}`, { column, remedy });

/** A column that both the query and the labels would fill. */
const refuseClash = (
  mapped: readonly Mapped[],
  labels: readonly JoinedColumn[],
  config: RowsConfig,
): void => {
  const taken = new Set([...mapped.map(({ target }) => target), BLOCK_COLUMN, BATCH_COLUMN]);
  const clash = labels.find(({ target }) => taken.has(target));
  if (clash === undefined) return;
  throw new WarehouseError(
    'config',
    `labels and query both bring a column ${clash.target} for ${config.table}`,
    {
      column: clash.target,
      remedy: 'Give the labels a `prefix`, or choose their `columns`.',
    },
  );
};

const requireSameType = (table: string, type: string | undefined, label: JoinedColumn): void => {
  const found = type === undefined ? null : pgTypeNamed(type);
  const widened = found === 'numeric' && label.type === 'bigint';
  if (found === label.type || found === 'text' || widened) return;
  throw misfit(
    table,
    label.target,
    `has column ${label.target} of type ${type}, and the labels' is ${label.type}`,
    `Change one of them (alter table … alter column …, or --type at \`pgstrata labels add\`), or give the labels a \`prefix\`.`,
  );
};

const addColumns = async (
  pool: Pool,
  { schema, table }: TableName,
  labels: readonly JoinedColumn[],
): Promise<void> => {
  const added = labels.map(
    ({ target, type }) => sql`add column if not exists ${sql.id(target)} ${sql.raw(type)}`,
  );
  await sql`alter table ${sql.id(schema, table)} ${sql.join(added)}`.execute(on(pool));
};

/** The types of a table's columns that the encoder writes. */
export const typesIn = async (pool: Pool, name: TableName): Promise<Map<string, PgType>> => {
  const catalog = await readCatalog(pool, name);
  return new Map(
    catalog.flatMap(({ name, type }) => {
      const known = pgTypeNamed(type);
      return known === null ? [] : [[name, known] as const];
    }),
  );
};

const readCatalog = async (pool: Client | Pool, { schema, table }: TableName): Promise<CatalogColumn[]> => {
  const { rows } = await sql<CatalogColumn>`
    select a.attname::text as name, format_type(a.atttypid, null) as type, a.attnotnull as required,
           a.atthasdef or a.attidentity <> '' as has_default
      from pg_catalog.pg_attribute a
      join pg_catalog.pg_class c on c.oid = a.attrelid
      join pg_catalog.pg_namespace n on n.oid = c.relnamespace
     where n.nspname = ${schema} and c.relname = ${table} and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
     order by a.attnum`.execute(on(pool));
  return rows;
};

const createTable = async (
  pool: Pool,
  name: TableName,
  mapped: readonly Mapped[],
  config: RowsConfig,
): Promise<void> => {
  const { partition } = config;
  const keys = partition === undefined ? [] : [partition.time, cutColumn(partition)];
  const definitions = mapped
    .filter(({ target }) => !isService(target, config))
    .map(({ target, field }) => {
      const type = partition?.time === target ? 'timestamptz' : defaultPgType(field);
      const required = keys.includes(target) ? ' not null' : '';
      return sql`${sql.id(target)} ${sql.raw(type + required)}`;
    });
  const service = [BLOCK_COLUMN, BATCH_COLUMN].map((column) => sql`${sql.id(column)} bigint not null`);
  if (config.reorg === 'history') service.push(sql`${sql.id(CURRENT_COLUMN)} ${sql.raw(CURRENT_DEFINITION)}`);
  const table = sql.id(name.schema, name.table);
  const tail = partition === undefined ? sql`` : sql` partition by range (${sql.id(partition.time)})`;
  await withTransaction(pool, async (client) => {
    // Another stream may load into the same table, and begin at the same moment.
    await lockInTransaction(client, lockOf(name));
    if ((await readCatalog(client, name)).length > 0) return;
    const database = on(client);
    await sql`create table ${table} (${sql.join([...definitions, ...service])})${tail}`.execute(database);
    // BRIN costs next to nothing on load and keeps a reorg from reading the whole table.
    await sql`create index on ${table} using brin (${sql.id(BLOCK_COLUMN)})`.execute(database);
    if (partition !== undefined) {
      await sql`select strata.create_partition_set(strata.free_set_name(${name.schema}, ${name.table}), ${`"${name.schema}"."${name.table}"`}::regclass, ${partition.time},
        ${cutColumn(partition)}, ${partition.modulus}, ${partition.groups === undefined ? null : groupsJson(partition.groups)}::jsonb)`.execute(
        database,
      );
    }
  }).catch((thrown: unknown) => {
    if (!(thrown instanceof WarehouseError) || thrown.detail.sqlstate !== NO_SUCH_SCHEMA) throw thrown;
    throw new WarehouseError(
      'config',
      `schema "${name.schema}" does not exist`,
      { remedy: `Create it first: create schema ${name.schema}.` },
      thrown,
    );
  });
};

/** The lock under which a table and its views are made. */
const lockOf = ({ schema, table }: TableName): string => `table ${schema}.${table}`;

/** SQLSTATE invalid_schema_name. */
const NO_SUCH_SCHEMA = '3F000';
