/** Loads from a server that knows no blocks: the whole result in one transaction, once. */
import type { BlockRange } from '../chain/range.ts';
import { wrapQuery } from '../flight/block-window.ts';
import { WarehouseError } from '../runtime/errors.ts';
import { postgresStore } from '../warehouse/state/postgres.ts';
import { readInto, type OpenPipeline } from './read-into.ts';
import type { IngestEnd, IngestOptions } from './run.ts';

/** Network name of a source whose server knows of none. */
export const WHOLE_RESULT = 'none';

/**
 * Loads the result, cut to the window when there is one.
 *
 * @throws WarehouseError `usage` when asked to follow, `conflict` when a part of the window is loaded already
 */
export const loadWhole = async (options: IngestOptions, openPipeline: OpenPipeline): Promise<IngestEnd> => {
  const { config, window, stream } = options;
  if (options.follow) {
    throw new WarehouseError('usage', `stream ${stream} cannot be followed: its server announces no blocks`, {
      remedy: 'Leave out --follow, or give spans with --from and --to.',
    });
  }
  const range: BlockRange = {
    network: WHOLE_RESULT,
    start: window.from ?? 0,
    end: (window.to ?? Number.MAX_SAFE_INTEGER) - 1,
    hash: '',
    prevHash: null,
    timestamp: null,
  };
  const loaded = (await postgresStore(options.pool, stream).tails()).get(WHOLE_RESULT) ?? [];
  if (loaded.some((known) => known.start <= range.start && known.end >= range.end)) return 'nothing new';
  if (loaded.some((known) => known.start <= range.end && known.end >= range.start)) {
    throw new WarehouseError('conflict', `part of the blocks ${range.start}–${range.end} is loaded already`, {
      remedy:
        'Give a span with --from and --to that touches nothing loaded; `pgstrata status` shows what is.',
    });
  }
  let answered = false;
  const end = await readInto(options, openPipeline, {
    query: wrapQuery(config.query, config.block, window),
    stream: false,
    resume: [],
    take: async (pipeline, { batch }) => {
      if (batch !== null && batch.numRows > 0) await pipeline.append(batch, [range]);
      return false;
    },
    atEnd: async (pipeline) => {
      answered = true;
      await pipeline.watermark([range]);
    },
  });
  if (end === 'stopped') return 'stopped';
  return answered ? 'complete' : 'nothing synced';
};
