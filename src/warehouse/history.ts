/** Reorg mode `history` of a `rows` load: rows that a reorg takes back stay, marked, and two views tell them apart. */
import { sql } from 'kysely';
import { on, type Client } from '../db/query.ts';

/** Whether a row is on the chain as it is now. */
export const CURRENT_COLUMN = '_current';

/** Its definition in a table that is made or mended. */
export const CURRENT_DEFINITION = 'boolean not null default true';

/**
 * Makes the views of a table where they are missing: `<table>_current` has the rows that are on the chain, as the query
 * gave them; `<table>_history` has them all, with `_current` to tell them apart.
 *
 * @param columns all columns of the table, in order
 */
export const createHistoryViews = async (
  client: Client,
  { schema, table }: { readonly schema: string; readonly table: string },
  columns: readonly string[],
): Promise<void> => {
  const source = sql.id(schema, table);
  const current = sql.join(columns.filter((name) => name !== CURRENT_COLUMN).map((name) => sql.id(name)));
  const all = sql.join(columns.map((name) => sql.id(name)));
  const views = [
    [`${table}_current`, sql`select ${current} from ${source} where ${sql.id(CURRENT_COLUMN)}`],
    [`${table}_history`, sql`select ${all} from ${source}`],
  ] as const;
  for (const [name, query] of views) {
    const { rows } = await sql<{ readonly is_there: boolean }>`
      select to_regclass(format('%I.%I', ${schema}::text, ${name}::text)) is not null as is_there`.execute(
      on(client),
    );
    // Replacing a view locks out its readers, if only for a moment: a run that finds it leaves it alone.
    if (rows[0]?.is_there !== true)
      await sql`create view ${sql.id(schema, name)} as ${query}`.execute(on(client));
  }
};

/** Marks the rows that `where` finds and that are on the chain; says how many. */
export const markSuperseded = async (
  client: Client,
  table: ReturnType<typeof sql.id>,
  where: ReturnType<typeof sql>,
): Promise<number> => {
  const marked = await sql`
    update ${table} set ${sql.id(CURRENT_COLUMN)} = false where ${sql.id(CURRENT_COLUMN)} and ${where}`.execute(
    on(client),
  );
  return Number(marked.numAffectedRows ?? 0n);
};
