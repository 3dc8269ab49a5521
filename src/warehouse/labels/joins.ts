/** What every join with labels is made of: which columns it brings, and how a row's account is compared. */
import { sql } from 'kysely';
import { WarehouseError } from '../../runtime/errors.ts';
import type { LabelTable } from './registry.ts';
import type { LabelType } from './column-types.ts';

/** A column that a join brings. */
export interface JoinedColumn {
  /** In the label table. */
  readonly source: string;
  /** Where it is joined to. */
  readonly target: string;
  readonly type: LabelType;
}

/**
 * The columns a join brings; all of the labels' where none are named.
 *
 * @throws WarehouseError `config` for a column the labels do not have
 */
export const chooseColumns = (
  labels: LabelTable,
  names: readonly string[] | null,
  prefix: string,
): JoinedColumn[] => {
  const byName = new Map(labels.columns.map((column) => [column.name, column]));
  return (names ?? [...byName.keys()]).map((name) => {
    const column = byName.get(name);
    if (column === undefined)
      throw new WarehouseError('config', `labels ${labels.name} have no column ${name}`, {
        column: name,
        remedy: `They have ${[...byName.keys()].join(', ') || 'none beside their key'}.`,
      });
    return { source: name, target: prefix + name, type: column.type };
  });
};

const TEXTS: readonly string[] = ['text', 'character varying'];

/**
 * A row's account as the key of label tables: `bytea` as it is, text as strata.account() reads it.
 *
 * @param type what format_type() says of the column; undefined where there is no such column
 * @throws WarehouseError `config` for a column that holds no account
 */
export const keyOf = (alias: string, column: string, type: string | undefined, table: string) => {
  if (type === 'bytea') return sql`${sql.ref(`${alias}.${column}`)}`;
  if (type !== undefined && TEXTS.includes(type))
    return sql`strata.account(${sql.ref(`${alias}.${column}`)})`;
  throw new WarehouseError(
    'config',
    type === undefined
      ? `${table} has no column ${column}`
      : `column ${column} of ${table} is ${type}, not an account`,
    { column, remedy: 'Name the column that holds the account, of type bytea or text.' },
  );
};
