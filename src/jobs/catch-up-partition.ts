/** Loads one partition by a query of its own: all its rows and its ledger row in one transaction, or nothing. */
import type { BlockSpan } from '../chain/partitions.ts';
import { protocolStart, protocolStep, type ProtocolState } from '../chain/protocol.ts';
import type { BatchMetadata, BlockRange } from '../chain/range.ts';
import { clipMetadata } from '../chain/window.ts';
import { wrapQuery, type NetworkFilter } from '../flight/block-window.ts';
import { WarehouseError } from '../runtime/errors.ts';
import { forkedAt } from '../warehouse/ledger-edges.ts';
import type { PartitionOutcome } from './catch-up-crew.ts';
import type { Pipeline } from './pipeline.ts';
import { readInto, type OpenPipeline } from './read-into.ts';
import type { IngestOptions } from './run.ts';

/** Hashes of the parent of a partition's first block and of its last block; null where they were not found out. */
export interface KnownHashes {
  readonly parent?: string | null;
  readonly end?: string | null;
}

/** Loaded blocks whose place is taken. */
interface Replaced {
  /** The last of them, which is the last of its range, too; null for all there are. */
  readonly to: number | null;
  /** Whether they have left the chain; else they only come again. */
  readonly isReorg: boolean;
}

/** What a partition is, and where it comes from. */
export interface PartitionLoad extends Pick<IngestOptions, 'client' | 'config' | 'signal'> {
  /** Null in `to`: all there is, up to the head of the server at that moment. */
  readonly span: { readonly from: number; readonly to: number | null };
  /** The network; a server that knows none (`ranges: false`) has its rows entered under this name. */
  readonly network: string;
  /** Whether the server says which blocks an answer covers. */
  readonly ranges: boolean;
  /** What names the network of a row, where the query spans several: only those of `network` are asked for. */
  readonly only?: NetworkFilter | null;
  /** For where the answer does not say them; asked for before it, so that a fork in between is never taken for settled. */
  readonly known?: KnownHashes;
  /** Asks for the parent once more when the answer has come: where only that says the last hash, the parent may be of a fork before it. */
  readonly askAgain?: () => Promise<string | null>;
  readonly openPipeline: OpenPipeline;
  /** Rows after which it is given up for being too large; null for never. */
  readonly splitAt: number | null;
  /** What is loaded from its first block on, to be erased: it takes the place of that. Null where nothing is. */
  readonly replace: Replaced | null;
}

/**
 * Loads a partition. It is committed only when the server has confirmed the end of its answer, and said of every block that it is
 * in it: a partition is never done after its first message.
 *
 * @throws WarehouseError as the server, the data or the database fails; then nothing of it is committed
 */
export const loadPartition = async (partition: PartitionLoad): Promise<PartitionOutcome> => {
  const { config, span, splitAt } = partition;
  const coverage = partition.ranges ? announcedCoverage(partition) : assumedCoverage(partition);
  const tooLarge = new WarehouseError('internal', 'a partition is larger than it was meant to be');
  let rows = 0;
  let { replace } = partition;
  const eraseFirst = async (pipeline: Pipeline, range: BlockRange): Promise<void> => {
    const erasing = replace;
    replace = null;
    if (erasing === null) return;
    await (erasing.isReorg ? pipeline.reorg(range, erasing.to) : pipeline.reread(range, erasing.to));
  };
  try {
    const end = await readInto(partition, partition.openPipeline, {
      query: wrapQuery(config.query, config.block, span, partition.only),
      stream: false,
      resume: [],
      take: async (pipeline, { batch, metadata }) => {
        const read = batch !== null && batch.numRows > 0 ? batch : null;
        const range = coverage.take(metadata, read?.numRows ?? 0, partition.known);
        if (read === null || range === null) return false;
        rows += read.numRows;
        if (splitAt !== null && rows > splitAt) throw tooLarge;
        await eraseFirst(pipeline, range);
        await pipeline.append(read, [range]);
        return false;
      },
      atEnd: async (pipeline) => {
        const range = coverage.end();
        if (range === null) return;
        await refuseNewParent(partition, range);
        await eraseFirst(pipeline, range);
        await pipeline.watermark([range]);
      },
    });
    return end === 'stopped' ? { kind: 'stopped' } : { kind: 'loaded', rows };
  } catch (thrown) {
    if (thrown === tooLarge) return { kind: 'too large', rows };
    throw thrown;
  }
};

const refuseNewParent = async ({ known, askAgain }: PartitionLoad, { network, start }: BlockRange) => {
  if (askAgain === undefined || !known?.parent || (await askAgain()) === known.parent) return;
  throw forkedAt(network, start - 1, 'the chain forked while it answered');
};

/** What an answer covers: told with each message, asked at the end. */
interface Coverage {
  /** The range that rows of this message belong to; null when they are to be left out. */
  take(metadata: BatchMetadata | null, rows: number, known: KnownHashes | undefined): BlockRange | null;
  /** The range to enter into the ledger; null when there is nothing. */
  end(): BlockRange | null;
}

/** A server without block ranges: the answer is what was asked for. */
const assumedCoverage = ({ span, network }: PartitionLoad): Coverage => {
  const range: BlockRange = {
    network,
    start: span.from,
    end: (span.to ?? Number.MAX_SAFE_INTEGER) - 1,
    hash: '',
    prevHash: null,
    timestamp: null,
  };
  return { take: () => range, end: () => range };
};

/** A server with block ranges: they have to cover the partition, without a hole or a fork. */
const announcedCoverage = ({ client, span, network, only }: PartitionLoad): Coverage => {
  let state: ProtocolState = protocolStart(new Map());
  /** Known with the first message, since rows carry its identity: where the answer comes in pieces, without an end hash. */
  let range: BlockRange | null = null;
  const wrong = (what: string, detail: { readonly grpcStatus?: string } = {}): WarehouseError =>
    new WarehouseError('protocol', `${client.server} ${what}`, {
      ...detail,
      network,
      block: span.from,
      remedy:
        'Nothing of the partition was committed. Start again; if it comes again, report it to the operator of the server.',
    });
  return {
    take: (metadata, rows, known) => {
      if (metadata === null && rows === 0) return null;
      if (metadata === null) throw wrong('sends rows without block ranges');
      if (metadata.ranges.length === 0)
        throw wrong('has nothing synced any more', { grpcStatus: 'UNAVAILABLE' });
      const own = metadata.ranges.filter((announced) => announced.network === network);
      if (own.length === 0 || ((only ?? null) === null && metadata.ranges.length > 1))
        throw wrong(`answers with other networks than ${network}`);
      const clipped = clipMetadata({ ...metadata, ranges: own }, span);
      if (clipped === null && rows > 0) throw wrong('sends rows of blocks that were not asked for');
      if (clipped === null) return null;
      const step = protocolStep(state, clipped);
      ({ state } = step);
      if (step.rewind !== null || step.reorgs.length + step.rereads.length > 0)
        throw wrong('changed to another fork in the middle of an answer');
      range ??= withKnown(expectedRange(clipped.ranges[0]!, span), known);
      // How far an open span reaches is said by the first piece; what comes behind it is left for later.
      return step.load && clipped.ranges[0]!.start <= range.end ? range : null;
    },
    end: () => {
      const covered = state.tails.get(network) ?? [];
      const [first, last] = [covered[0], covered.at(-1)];
      if (state.open !== null) throw wrong('ended its answer inside a microbatch', { grpcStatus: 'OK' });
      if (first === undefined || last === undefined || range === null) {
        if (span.to === null) return null;
        throw wrong(`has not synced blocks ${span.from}–${span.to - 1}`, { grpcStatus: 'UNAVAILABLE' });
      }
      if (first.start !== span.from || (span.to !== null && last.end !== span.to - 1)) {
        throw wrong(`has synced only blocks ${first.start}–${last.end} of the partition`, {
          grpcStatus: 'UNAVAILABLE',
        });
      }
      return range;
    },
  };
};

/** The range of the whole partition, seen from the first piece of its answer. */
const expectedRange = (piece: BlockRange, { from, to }: PartitionLoad['span']): BlockRange => {
  const end = to === null ? piece.end : to - 1;
  const isWhole = piece.start === from && piece.end === end;
  return { ...piece, start: from, end, ...(isWhole ? {} : { hash: '', timestamp: null }) };
};

/**
 * Of the two hashes the last one may not be the newer: a parent that has left the chain is then found by it, for the last hash of
 * all is looked at again. A parent that was asked for goes with a last hash that was asked for before it, not with the answer's.
 */
const withKnown = (range: BlockRange, known: KnownHashes = {}): BlockRange => {
  const isAsked = range.prevHash === null && known.end !== undefined && Boolean(known.parent);
  return {
    ...range,
    hash: range.hash === '' || isAsked ? (known.end ?? '') : range.hash,
    prevHash: range.prevHash ?? known.parent ?? null,
  };
};

/** The span as people say it, both ends inclusive. */
export const describeSpan = ({ from, to }: BlockSpan): string => `${from}–${to - 1}`;
