/** The copy: all rows at one snapshot, in the order they are to lie in, by several sessions where that helps. */
import { queryUntil } from '../../../db/cancel.ts';
import { withTransaction } from '../../../db/pool.ts';
import type { Client, Pool } from '../../../db/query.ts';
import { REPLAY_SETTINGS } from './replay.ts';
import type { CopySpec } from './copy-spec.ts';

/** How rows lie in a consolidated week. */
export type HeapOrder = 'time' | 'key';

/**
 * Length of the time slices of a heap in time order, hours. Inside a slice rows lie by key. Strict time order scatters an
 * account over as many pages as it has rows; by slices it takes as many as there are slices at most, fewer than in a week
 * that was loaded in sorted batches, while BRIN still finds an hour within a seventeenth of the week.
 */
const SLICE_HOURS = 10;

/** Sessions that read or write at once, at most; the pool may allow fewer. */
const SESSIONS_MAX = 4;

/** Connections that others of this process may need meanwhile. */
const SPARE_CONNECTIONS = 3;

/**
 * The statements of a copy; they may run side by side at one snapshot. In key order one for each part, since a key lies in
 * one of them; in time order a single one, because rows of several writers would alternate page by page, and BRIN, which knows
 * ranges of pages, would find nothing any more.
 */
export const copyStatements = (
  { source, parts, target, columns, keys }: CopySpec,
  order: { readonly heap: HeapOrder; readonly timeColumn: string; readonly lower: string },
): readonly string[] => {
  const list = columns.join(', ');
  const insert = (from: string, by: string): string =>
    `insert into ${target} (${list}) overriding system value select ${list} from ${from} order by ${by}`;
  if (order.heap === 'key') return parts.map((part) => insert(part, keys.join(', ')));
  const slice = `date_bin(interval '${SLICE_HOURS} hours', ${order.timeColumn}, timestamptz ${order.lower})`;
  return [insert(source, `${slice}, ${keys.join(', ')}`)];
};

/** Work memory of a session that sorts. */
const SORT_MEMORY = "set local work_mem = '64MB'";

/**
 * Runs statements at one snapshot, which is taken now, side by side in as many sessions as the pool can spare.
 *
 * @returns their results in order
 */
export const atOneSnapshot = (
  pool: Pool,
  statements: readonly string[],
  signal: AbortSignal,
): Promise<readonly (readonly Record<string, unknown>[])[]> =>
  withTransaction(
    pool,
    async (exporter) => {
      const { rows } = await exporter.query<{ snapshot: string }>('select pg_export_snapshot() as snapshot');
      const snapshot = `set transaction snapshot '${rows[0]?.snapshot ?? ''}'`;
      const results: (readonly Record<string, unknown>[])[] = [];
      const waiting = [...statements.entries()];
      const work = async (client: Client): Promise<void> => {
        for (const setting of [...REPLAY_SETTINGS, SORT_MEMORY]) await client.query(setting);
        for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
          results[next[0]] = (await queryUntil(client, next[1], signal)).rows;
        }
      };
      const sessions = Math.min(
        statements.length,
        SESSIONS_MAX,
        Math.max(1, pool.options.max - SPARE_CONNECTIONS),
      );
      const helpers = Array.from({ length: sessions - 1 }, () =>
        withTransaction(
          pool,
          async (client) => {
            await client.query(snapshot);
            await work(client);
          },
          { isolation: 'repeatable read' },
        ),
      );
      // All of them end before the exporter does, also when one fails: a snapshot lives as long as its transaction.
      const ended = await Promise.allSettled([work(exporter), ...helpers]);
      for (const end of ended) if (end.status === 'rejected') throw end.reason;
      return results;
    },
    { isolation: 'repeatable read' },
  );
