/** Cuts a user's query to a span of blocks by wrapping it; the text itself is never rewritten. */

import type { BlockWindow } from '../chain/window.ts';

/**
 * `query` limited to the blocks of `window`.
 *
 * @param column name of the block column as the query gives it out.
 */
export const wrapQuery = (query: string, column: string, window: BlockWindow): string => {
  const bounds = [
    ...(window.from === null ? [] : [`${column} >= ${window.from}`]),
    ...(window.to === null ? [] : [`${column} < ${window.to}`]),
  ];
  if (bounds.length === 0) return query;
  // A trailing comment must not swallow the closing bracket, nor a semicolon end the statement.
  const inner = query.trim().replace(/;\s*$/, '');
  return `WITH strata_partition AS (SELECT * FROM (${inner}\n) AS q WHERE ${bounds.join(' AND ')}) SELECT * FROM strata_partition`;
};
