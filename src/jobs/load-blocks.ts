/** Loads from a server that announces block ranges, pass by pass until nothing that was asked for is missing. */
import { protocolStart, protocolStep, type LedgerTail, type ProtocolState } from '../chain/protocol.ts';
import type { Watermark } from '../chain/range.ts';
import { nextPass, refuseSpan, type Pass } from '../chain/span.ts';
import { clipMetadata, type BlockWindow } from '../chain/window.ts';
import { wrapQuery } from '../flight/block-window.ts';
import type { FlightClient } from '../flight/client.ts';
import { queryFlight } from '../flight/query.ts';
import { WarehouseError } from '../runtime/errors.ts';
import { loadTails } from '../warehouse/stream-state.ts';
import { readInto, type OpenPipeline } from './read-into.ts';
import type { IngestEnd, IngestOptions } from './run.ts';

type Heads = ReadonlyMap<string, number>;
type Tails = ReadonlyMap<string, LedgerTail>;

/**
 * Loads what is missing of the window, up to the head or, followed, for ever.
 *
 * @throws WarehouseError as the server, the data or the database fails
 */
export const loadBlocks = async (options: IngestOptions, openPipeline: OpenPipeline): Promise<IngestEnd> => {
  const { pool, stream } = options;
  const heads = options.follow ? null : await findHeads(options);
  if (heads?.size === 0) return 'nothing synced';
  for (const [network, block] of heads ?? []) options.onEvent({ kind: 'head', stream, network, block });
  if (heads !== null) refuseSpan(heads.size, options.window);
  for (let passes = 0; ; passes++) {
    const pass = nextPass(await loadTails(pool, stream), options.window);
    if (pass === null || isReached(pass.tails, heads, pass.window))
      return passes === 0 ? 'nothing new' : 'complete';
    const end = await runPass(options, openPipeline, pass, heads);
    if (end !== 'complete' || !pass.more) return end;
  }
};

const runPass = async (
  options: IngestOptions,
  openPipeline: OpenPipeline,
  pass: Pass,
  heads: Heads | null,
): Promise<IngestEnd> => {
  const { client, config } = options;
  const { window } = pass;
  let state = protocolStart(pass.tails);
  let notReady = false;
  const end = await readInto(options, openPipeline, {
    query: wrapQuery(config.query, config.block, window),
    stream: true,
    resume: resumeOf(pass.tails),
    take: async (pipeline, { batch, metadata: announced }) => {
      const rows = batch !== null && batch.numRows > 0 ? batch : null;
      if (announced === null) {
        if (rows === null) return false;
        throw new WarehouseError('protocol', `${client.server} sends rows without block ranges`, {
          remedy: 'If it is a plain Flight SQL server, say so with `kind: flight-sql` in servers.',
        });
      }
      refuseSpan(announced.ranges.length, window);
      const metadata = clipMetadata(announced, window);
      if (metadata === null) return false;
      const step = protocolStep(state, metadata);
      ({ state } = step);
      notReady ||= step.notReady;
      for (const range of step.reorgs) await pipeline.reorg(range);
      if (step.load && rows !== null) await pipeline.append(rows, metadata.ranges);
      if (step.watermark === null) return false;
      await pipeline.watermark(step.watermark);
      return isReached(state.tails, heads, window);
    },
  });
  return end === 'ended' ? endOfStream(client, state, notReady) : end;
};

/** A live stream has no end of its own; what it means that the server ended it all the same. */
const endOfStream = (client: FlightClient, state: ProtocolState, notReady: boolean): IngestEnd => {
  if (state.open !== null) {
    throw new WarehouseError('protocol', `${client.server} ended the stream inside a microbatch`, {
      grpcStatus: 'OK',
      remedy:
        'Start again: loading goes on behind the last whole microbatch; nothing of the cut one was committed.',
    });
  }
  if (notReady) return 'nothing synced';
  throw new WarehouseError('connection', `${client.server} ended the stream`, {
    grpcStatus: 'OK',
    remedy: 'Start again; loading goes on behind the last committed block.',
  });
};

const resumeOf = (tails: Tails): Watermark[] =>
  [...tails].flatMap(([network, tail]) => {
    const last = tail.findLast((range) => range.hash !== '');
    return last === undefined ? [] : [{ network, number: last.end, hash: last.hash }];
  });

/** Whether every network is loaded up to its head, or to the window's end; without heads only a window has an end. */
const isReached = (tails: Tails, heads: Heads | null, { from, to }: BlockWindow): boolean => {
  const last = (to ?? Infinity) - 1;
  const wanted = heads ?? new Map([...tails.keys()].map((network) => [network, Infinity]));
  if (wanted.size === 0) return false;
  return [...wanted].every(([network, head]) => {
    const end = Math.min(head, last);
    return end < (from ?? 0) || (tails.get(network)?.at(-1)?.end ?? -1) >= end;
  });
};

/** Servers plan such a query in milliseconds; one that says nothing for this long never will. */
const HEAD_LIMIT_MS = 60_000;

/**
 * Asks for the newest block of each network by a query that gives no rows: its ranges say what is synced.
 *
 * @throws WarehouseError `connection` when the server does not say it in time
 */
export const findHeads = async ({
  client,
  config,
  signal,
  headLimit_ms = HEAD_LIMIT_MS,
}: Pick<IngestOptions, 'client' | 'config' | 'signal' | 'headLimit_ms'>): Promise<Heads> => {
  const nothing = wrapQuery(config.query, config.block, { from: Number.MAX_SAFE_INTEGER - 1, to: null });
  const late = AbortSignal.timeout(headLimit_ms);
  try {
    for await (const { metadata } of queryFlight(client, nothing, {
      signal: AbortSignal.any([signal, late]),
    })) {
      if (metadata !== null && metadata.ranges.length > 0)
        return new Map(metadata.ranges.map((range) => [range.network, range.end]));
    }
    return new Map();
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
