/** All named queries, as data: what each takes, gives and is good for. `pgstrata query --list` prints it. */
import { ACCOUNT_QUERIES } from './of-accounts.ts';
import { FLOW_QUERIES, HOLDER_QUERIES } from './of-assets.ts';
import type { AnalyticsQuery } from './query.ts';

/** The named queries. */
export const QUERIES = { ...ACCOUNT_QUERIES, ...HOLDER_QUERIES, ...FLOW_QUERIES } as const satisfies Readonly<
  Record<string, AnalyticsQuery>
>;

/** Name of a query. */
export type QueryName = keyof typeof QUERIES;

/** The names, in the order in which they are listed. */
export const QUERY_NAMES = Object.keys(QUERIES) as readonly QueryName[];
