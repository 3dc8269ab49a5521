/** Asks a server what it has: the blocks of each network that are synced. */
import type { BlockRange } from '../chain/range.ts';
import { wrapQuery } from '../flight/block-window.ts';
import { queryFlight } from '../flight/query.ts';
import type { StreamConfig } from '../runtime/config.ts';
import { WarehouseError } from '../runtime/errors.ts';
import type { IngestOptions } from './run.ts';

/** Servers plan such a query in milliseconds; one that says nothing for this long never will. */
const HEAD_LIMIT_MS = 60_000;

/** The stream's query, so that none of its rows are given out: what rides beside them is all that is asked for. */
const withoutRows = ({ query, block }: StreamConfig): string =>
  wrapQuery(query, block, { from: Number.MAX_SAFE_INTEGER - 1, to: null });

/** The hash of no block. */
const NO_BLOCK = `0x${'f'.repeat(64)}`;

/** How long a server may take to say a hash; a stream that has nothing to say is silent. */
const HASH_LIMIT_MS = 10_000;

/**
 * The hash of the block before `block`, which must not lie behind the head. A stream that is to go on behind a block that its
 * server does not know begins with that block, and names its parent.
 *
 * @returns null where the server says something else, or nothing in time
 */
export const findParent = async (
  { client, config, signal }: Pick<IngestOptions, 'client' | 'config' | 'signal'>,
  network: string,
  block: number,
): Promise<string | null> => {
  if (block <= 0) return null;
  const late = AbortSignal.timeout(HASH_LIMIT_MS);
  const resume = [{ network, number: block, hash: NO_BLOCK }];
  try {
    for await (const { metadata } of queryFlight(client, withoutRows(config), {
      stream: true,
      resume,
      signal: AbortSignal.any([signal, late]),
    })) {
      const range = metadata?.ranges.find((announced) => announced.network === network);
      if (range !== undefined) return range.start === block ? range.prevHash : null;
    }
    return null;
  } catch (thrown) {
    if (!late.aborted || signal.aborted) throw thrown;
    return null;
  }
};

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
  const late = AbortSignal.timeout(headLimit_ms);
  try {
    for await (const { metadata } of queryFlight(client, withoutRows(config), {
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
