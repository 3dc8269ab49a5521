/** Cuts a user's query to a span of blocks by wrapping it; the text itself is never rewritten. */

import type { BlockWindow } from '../chain/window.ts';
import { WarehouseError } from '../runtime/errors.ts';
import { soleStatement } from '../runtime/query-text.ts';

/** Rows of one network, of a query that spans several. */
export interface NetworkFilter {
  /** Column of the query that names the network. */
  readonly column: string;
  readonly network: string;
}

/**
 * `query` limited to the blocks of `window`.
 *
 * @param column name of the block column as the query gives it out.
 * @param only limits it to one network, too
 * @throws WarehouseError `config` for text that is not one statement.
 */
export const wrapQuery = (
  query: string,
  column: string,
  window: BlockWindow,
  only: NetworkFilter | null = null,
): string => {
  const bounds = [
    ...(only === null ? [] : [`${only.column} = '${only.network.replaceAll("'", "''")}'`]),
    ...(window.from === null ? [] : [`${column} >= ${window.from}`]),
    ...(window.to === null ? [] : [`${column} < ${window.to}`]),
  ];
  if (bounds.length === 0) return query;
  // What comes behind the statement stays outside: a comment would swallow the closing bracket, a semicolon end it all.
  const inner = soleStatement(query);
  if (inner === null) {
    throw new WarehouseError('config', 'the query is not one statement', {
      remedy: 'Give a single SELECT under `query`, without another statement behind a semicolon.',
    });
  }
  return `WITH strata_partition AS (SELECT * FROM (${inner}) AS q WHERE ${bounds.join(' AND ')}) SELECT * FROM strata_partition`;
};
