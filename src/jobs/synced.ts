/** Asks a server what it has: the blocks of each network that are synced. */
import type { BlockRange } from '../chain/range.ts';
import { wrapQuery } from '../flight/block-window.ts';
import { queryFlight } from '../flight/query.ts';
import { WarehouseError } from '../runtime/errors.ts';
import type { IngestOptions } from './run.ts';

/** Servers plan such a query in milliseconds; one that says nothing for this long never will. */
const HEAD_LIMIT_MS = 60_000;

/**
 * The synced blocks of each network, by a query that gives no rows: its ranges say them. Empty while nothing is synced.
 *
 * @throws WarehouseError `connection` when the server does not say it in time
 */
export const findSynced = async ({
  client,
  config,
  signal,
  headLimit_ms = HEAD_LIMIT_MS,
}: Pick<IngestOptions, 'client' | 'config' | 'signal' | 'headLimit_ms'>): Promise<readonly BlockRange[]> => {
  const nothing = wrapQuery(config.query, config.block, { from: Number.MAX_SAFE_INTEGER - 1, to: null });
  const late = AbortSignal.timeout(headLimit_ms);
  try {
    for await (const { metadata } of queryFlight(client, nothing, {
      signal: AbortSignal.any([signal, late]),
    })) {
      if (metadata !== null && metadata.ranges.length > 0) return metadata.ranges;
    }
    return [];
  } catch (thrown) {
    if (!late.aborted || signal.aborted) throw thrown;
    throw new WarehouseError(
      'connection',
      `${client.server} did not say within ${headLimit_ms} ms where its head is`,
      {
        grpcStatus: 'DEADLINE_EXCEEDED',
        remedy:
          'Check that the server is healthy, or follow the stream with --follow, which need not know the head.',
      },
    );
  }
};
