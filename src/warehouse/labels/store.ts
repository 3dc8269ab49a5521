/** Puts staged labels into their table in one transaction, beside readers and streams that join them. */
import { setTimeout as wait } from 'node:timers/promises';
import { sql } from 'kysely';
import { sqlstateOf } from '../../db/errors.ts';
import { commitTransaction } from '../../db/pool.ts';
import { on, type Client } from '../../db/query.ts';
import { WarehouseError } from '../../runtime/errors.ts';
import {
  grantSelect,
  joiningStreams,
  KEY_COLUMN,
  labelTable,
  type LabelColumn,
  type LabelTable,
} from './registry.ts';
import { createView, dropView, viewsOfLabels } from './views.ts';

/** Where rows wait, as text, until their types are known: of the session that loads. */
export const STAGE = sql.id('pg_temp', 'label_stage');

/** Labels about to be stored. */
export type NewLabels = Omit<LabelTable, 'loaded_at'>;

/** How long the change of tables waits for readers at a time, while others queue behind it; and how often it tries. */
const SWAP_LOCK_MS = 200;
const SWAP_TRIES = 60;
const SWAP_PAUSE_MS = 250;

/**
 * Stores the rows of {@link STAGE} as labels, in place of `known` where there are such.
 *
 * @throws WarehouseError `conflict` where something uses a column that would go or change its type
 */
export const storeLabels = async (
  client: Client,
  labels: NewLabels,
  known: LabelTable | null,
): Promise<void> => {
  const isSame = known !== null && sameShape(known.columns, labels.columns);
  if (known !== null && !isSame) await refuseChange(client, labels, known);
  await client.query('begin');
  try {
    await client.query(`set local work_mem = '64MB'; set local synchronous_commit = on`);
    if (isSame) await applyDifference(client, labels);
    else await buildBeside(client, labels);
    await register(client, labels);
    if (known !== null && !isSame) await takePlace(client, labels.name);
    else if (!isSame) await rename(client, labels.name);
    await commitTransaction(client);
  } catch (thrown) {
    await client.query('rollback').catch(() => undefined);
    throw thrown;
  }
  await sql`analyze ${labelTable(labels.name)}`.execute(on(client));
};

const sameShape = (before: readonly LabelColumn[], after: readonly LabelColumn[]): boolean => {
  const types = new Map(before.map((column) => [column.name, column.type]));
  return before.length === after.length && after.every(({ name, type }) => types.get(name) === type);
};

/** A stream that fills a column from these labels must go on finding it, of its type. */
const refuseChange = async (client: Client, labels: NewLabels, known: LabelTable): Promise<void> => {
  const after = new Map(labels.columns.map((column) => [column.name, column.type]));
  const changed = known.columns.filter(({ name, type }) => after.get(name) !== type);
  for (const { stream, columns } of await joiningStreams(client, labels.name)) {
    const lost = changed.find(({ name }) => columns === null || columns.includes(name));
    if (lost === undefined) continue;
    const now = after.get(lost.name);
    throw new WarehouseError(
      'conflict',
      now === undefined
        ? `stream ${stream} joins column ${lost.name}, which the file does not have`
        : `stream ${stream} joins column ${lost.name} as ${lost.type}, and the file has values that are ${now}`,
      {
        stream,
        column: lost.name,
        remedy: `Mend the file, take the column out of the stream's labels (\`columns\`) and run it, or load the file under a new name.`,
      },
    );
  }
};

/** A staged text as a value of its column. */
const cast = ({ name, type }: LabelColumn) => {
  const text = sql`s.${sql.id(name)}`;
  if (type === 'text') return text;
  if (type === 'bytea') return sql`strata.account(nullif(${text}, ''))`;
  return sql`nullif(${text}, '')::${sql.raw(type)}`;
};

const KEY = sql.id(KEY_COLUMN);

const insertInto = (table: ReturnType<typeof sql.id>, columns: readonly LabelColumn[], where = sql``) =>
  sql`insert into ${table} (${sql.join([KEY, ...columns.map(({ name }) => sql.id(name))])})
    select ${sql.join([sql`s.${KEY}`, ...columns.map(cast)])} from ${STAGE} s ${where}`;

/** Only rows that differ are touched: no lock that a reader would notice, and little to vacuum after a small change. */
const applyDifference = async (client: Client, { name, columns }: NewLabels): Promise<void> => {
  const table = labelTable(name);
  const database = on(client);
  await sql`delete from ${table} t where not exists (select from ${STAGE} s where s.${KEY} = t.${KEY})`.execute(
    database,
  );
  if (columns.length > 0) {
    const set = columns.map((column) => sql`${sql.id(column.name)} = ${cast(column)}`);
    const differs = columns.map((column) => sql`t.${sql.id(column.name)} is distinct from ${cast(column)}`);
    await sql`update ${table} t set ${sql.join(set)} from ${STAGE} s
      where s.${KEY} = t.${KEY} and (${sql.join(differs, sql` or `)})`.execute(database);
  }
  const isNew = sql`where not exists (select from ${table} t where t.${KEY} = s.${KEY})`;
  await insertInto(table, columns, isNew).execute(database);
};

const besideOf = (name: string) => sql.id('strata', `labels_${name}_next`);

const buildBeside = async (client: Client, { name, columns }: NewLabels): Promise<void> => {
  const beside = besideOf(name);
  const database = on(client);
  const definitions = columns.map((column) => sql`${sql.id(column.name)} ${sql.raw(column.type)}`);
  await sql`create table ${beside} (${sql.join([sql`${KEY} bytea not null`, ...definitions])})`.execute(
    database,
  );
  await insertInto(beside, columns).execute(database);
  await sql`alter table ${beside} add constraint ${sql.id(`labels_${name}_next_pkey`)} primary key (${KEY})`.execute(
    database,
  );
  await sql`comment on table ${beside} is ${sql.lit(`Labels ${name}: see strata.labels`)}`.execute(database);
  await grantSelect(client, beside);
};

const rename = async (client: Client, name: string): Promise<void> => {
  const database = on(client);
  await sql`alter table ${besideOf(name)} rename to ${sql.id(`labels_${name}`)}`.execute(database);
  await sql`alter table ${labelTable(name)} rename constraint ${sql.id(`labels_${name}_next_pkey`)} to ${sql.id(`labels_${name}_pkey`)}`.execute(
    database,
  );
};

const register = async (client: Client, labels: NewLabels): Promise<void> => {
  const row = {
    key_header: labels.key,
    columns: JSON.stringify(labels.columns),
    row_count: labels.rows,
    duplicates: labels.duplicates,
    source_file: labels.file,
    sha256: labels.sha256,
    loaded_at: sql<Date>`clock_timestamp()`,
  };
  await on(client)
    .insertInto('labels')
    .values({ label_name: labels.name, ...row })
    .onConflict((conflict) => conflict.column('label_name').doUpdateSet(row))
    .execute();
};

/** The new table takes the old one's place, and our views with it; tried again while readers keep it waiting. */
const takePlace = async (client: Client, name: string): Promise<void> => {
  for (let tries = 1; ; tries++) {
    await client.query('savepoint swap');
    try {
      await client.query(`set local lock_timeout = '${SWAP_LOCK_MS}ms'`);
      await swap(client, name);
      return;
    } catch (thrown) {
      const state = sqlstateOf(thrown);
      if (state === '2BP01') throw dependents(name, thrown);
      if (state !== '55P03' || tries === SWAP_TRIES) throw thrown;
      await client.query('rollback to savepoint swap');
      await wait(SWAP_PAUSE_MS);
    }
  }
};

const swap = async (client: Client, name: string): Promise<void> => {
  const views = await viewsOfLabels(client, name);
  // Views first, then the table: readers lock in this order, too.
  for (const view of views) await dropView(client, view);
  await sql`drop table ${labelTable(name)}`.execute(on(client));
  await rename(client, name);
  for (const view of views) await createView(client, view);
};

const dependents = (name: string, cause: unknown): WarehouseError =>
  new WarehouseError(
    'conflict',
    `something that is not pgstrata's rests on labels ${name}, and their columns are about to change`,
    {
      sqlstate: '2BP01',
      remedy: 'Drop it first (`pgstrata labels list` names views), and make it anew afterwards.',
    },
    cause,
  );
