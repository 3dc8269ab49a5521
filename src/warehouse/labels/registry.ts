/** What is known of label tables: which there are, what they hold, who uses them; and taking one away. */
import { sql } from 'kysely';
import { lockInTransaction } from '../../db/locks.ts';
import { withTransaction } from '../../db/pool.ts';
import { on, type Client, type Pool } from '../../db/query.ts';
import { WarehouseError } from '../../runtime/errors.ts';
import type { LabelType } from './column-types.ts';

/** The key of every label table: an account, as bytes. */
export const KEY_COLUMN = 'account_address';

/** A column of a label table beside its key. */
export interface LabelColumn {
  readonly name: string;
  readonly type: LabelType;
  /** What the file calls it. */
  readonly header: string;
}

/** A loaded label file. */
export interface LabelTable {
  readonly name: string;
  /** The column of the file that is its key. */
  readonly key: string;
  readonly columns: readonly LabelColumn[];
  readonly rows: number;
  /** Rows left out because their key came more than once. */
  readonly duplicates: number;
  readonly file: string;
  readonly sha256: string;
  readonly loaded_at: Date;
}

/** A label table and who uses it. */
export interface LabelUse extends LabelTable {
  /** Streams that join it on load, as they ran last. */
  readonly streams: readonly string[];
  /** Views over it, whoever made them: `schema.view`. */
  readonly views: readonly string[];
}

/** Lets the label's table, of the form `strata.labels_<name>`, be named in SQL. */
export const labelTable = (name: string) => sql.id('strata', `labels_${name}`);

/**
 * Refuses a name that no label table can have.
 *
 * @throws WarehouseError `usage`
 */
export const checkLabelName = (name: string): void => {
  if (/^[a-z_][a-z0-9_]{0,38}$/.test(name)) return;
  throw new WarehouseError('usage', `${JSON.stringify(name)} cannot name labels`, {
    remedy: 'Take at most 39 small letters, digits and underscores, such as known_accounts.',
  });
};

/** Label tables by name; of those asked for, the ones that are there. */
export const findLabels = async (
  client: Client | Pool,
  names?: readonly string[],
): Promise<Map<string, LabelTable>> => {
  const rows = await on(client)
    .selectFrom('labels')
    .selectAll()
    .$if(names !== undefined, (query) => query.where('label_name', 'in', [...(names ?? []), '']))
    .orderBy('label_name')
    .execute();
  return new Map(
    rows.map((row) => [
      row.label_name,
      {
        name: row.label_name,
        key: row.key_header,
        columns: row.columns as readonly LabelColumn[],
        rows: row.row_count,
        duplicates: row.duplicates,
        file: row.source_file,
        sha256: row.sha256,
        loaded_at: row.loaded_at,
      },
    ]),
  );
};

/**
 * The label table of that name.
 *
 * @throws WarehouseError `config` when there is none
 */
export const requireLabels = async (client: Client | Pool, name: string): Promise<LabelTable> => {
  const found = (await findLabels(client, [name])).get(name);
  if (found !== undefined) return found;
  throw new WarehouseError('config', `there are no labels ${name}`, {
    remedy: `Load them with: pgstrata labels add ${name} FILE.csv. \`pgstrata labels list\` shows what there is.`,
  });
};

/** A stream that joins labels on load; `columns` null for all of them. */
export interface JoiningStream {
  readonly stream: string;
  readonly columns: readonly string[] | null;
}

/** Streams that, as they ran last, join the labels. */
export const joiningStreams = async (client: Client | Pool, name: string): Promise<JoiningStream[]> => {
  const { rows } = await sql<JoiningStream>`
    select s.stream, l.joined->'columns' as columns
      from strata.streams s, jsonb_array_elements(coalesce(s.definition->'labels', '[]')) l(joined)
     where l.joined->>'name' = ${name} order by s.stream`.execute(on(client));
  return rows;
};

/** Views that read the label's table. */
const viewsOver = async (client: Client | Pool, name: string): Promise<string[]> => {
  const { rows } = await sql<{ view: string }>`
    select distinct format('%I.%I', n.nspname, v.relname) as view
      from pg_catalog.pg_depend d
      join pg_catalog.pg_rewrite r on r.oid = d.objid
      join pg_catalog.pg_class v on v.oid = r.ev_class
      join pg_catalog.pg_namespace n on n.oid = v.relnamespace
     where d.classid = 'pg_catalog.pg_rewrite'::regclass and d.refclassid = 'pg_catalog.pg_class'::regclass
       and d.refobjid = to_regclass(${`strata.labels_${name}`}) order by 1`.execute(on(client));
  return rows.map((row) => row.view);
};

/** All label tables with their users, by name. */
export const listLabels = async (pool: Pool): Promise<LabelUse[]> => {
  const tables = [...(await findLabels(pool)).values()];
  return Promise.all(
    tables.map(async (table) => ({
      ...table,
      streams: (await joiningStreams(pool, table.name)).map(({ stream }) => stream),
      views: await viewsOver(pool, table.name),
    })),
  );
};

/** What stands in the way of removing labels. */
export interface RemoveOptions {
  /** Streams of the configuration at hand that join them. */
  readonly configured: readonly string[];
  /** All streams of the configuration at hand: what it says of them is newer than what the database remembers. */
  readonly known: readonly string[];
  /** Remove them though a stream that is not in this configuration joined them when it ran last. */
  readonly force: boolean;
}

/**
 * Drops a label table.
 *
 * @throws WarehouseError `conflict` while a stream or a view uses it, `config` when there is none
 */
export const removeLabels = (pool: Pool, name: string, options: RemoveOptions): Promise<void> =>
  withTransaction(pool, async (client) => {
    await lockInTransaction(client, `labels ${name}`);
    await refuseUsed(client, name, options);
    const database = on(client);
    // What is there of these are views that somebody dropped by hand.
    await database.deleteFrom('label_views').where('label_name', '=', name).execute();
    await database.deleteFrom('labels').where('label_name', '=', name).execute();
    await sql`drop table ${labelTable(name)}`.execute(database);
  });

const refuseUsed = async (client: Client, name: string, options: RemoveOptions): Promise<void> => {
  const { configured, known, force } = options;
  await requireLabels(client, name);
  const elsewhere = (await joiningStreams(client, name))
    .map(({ stream }) => stream)
    .filter((stream) => !known.includes(stream));
  const streams = [...configured, ...(force ? [] : elsewhere)];
  if (streams.length > 0) {
    const isElsewhere = configured.length === 0;
    throw new WarehouseError('conflict', `labels ${name} are joined by ${streams.join(', ')}`, {
      remedy: isElsewhere
        ? 'The configuration at hand does not have that stream. If no other has it either, say --force.'
        : `Take \`name: ${name}\` out of \`labels\` of that stream first.`,
    });
  }
  const views = await viewsOver(client, name);
  if (views.length > 0) {
    throw new WarehouseError('conflict', `labels ${name} are read by ${views.join(', ')}`, {
      remedy: `Drop that first: drop view ${views.join(', ')};`,
    });
  }
};

/** Lets the group roles that are there read a relation of schema strata. */
export const grantSelect = async (client: Client, relation: ReturnType<typeof sql.id>): Promise<void> => {
  const { rows } = await sql<{ name: string }>`
    select rolname as name from pg_catalog.pg_roles
     where rolname in ('strata_reader', 'strata_loader', 'strata_maintainer')`.execute(on(client));
  for (const { name } of rows) await sql`grant select on ${relation} to ${sql.id(name)}`.execute(on(client));
};
