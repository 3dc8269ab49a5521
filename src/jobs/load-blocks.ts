/** Loads from a server that announces block ranges, pass by pass until nothing that was asked for is missing. */
import { REORG_BUFFER_BLOCKS, resumeFrom, type LedgerTails } from '../chain/ledger-tail.ts';
import { protocolStart, protocolStep, type ProtocolState, type ProtocolStep } from '../chain/protocol.ts';
import type { Watermark } from '../chain/range.ts';
import { nextPass, refuseSpan, type Pass } from '../chain/span.ts';
import { clipMetadata, type BlockWindow } from '../chain/window.ts';
import { wrapQuery } from '../flight/block-window.ts';
import type { FlightClient } from '../flight/client.ts';
import { WarehouseError } from '../runtime/errors.ts';
import { postgresStore } from '../warehouse/state/postgres.ts';
import type { StateStore } from '../warehouse/state/store.ts';
import type { PartitionOutcome } from './catch-up-crew.ts';
import { loadPartition } from './catch-up-partition.ts';
import { readInto, type OpenPipeline } from './read-into.ts';
import type { IngestEnd, IngestOptions } from './run.ts';
import { findSynced } from './synced.ts';

/** The newest block of each network. */
type Heads = ReadonlyMap<string, Pick<Watermark, 'number' | 'hash'>>;

/** A step back that a pass has asked for. */
type Rewind = NonNullable<ProtocolStep['rewind']>;

/**
 * Steps back without a commit between them. Each goes twice as far as the one before, so that the whole ledger in memory
 * takes a dozen; a server that asks for more is not telling of one fork.
 */
const REWINDS_MAX = 16;

/** Times that blocks without hashes are loaded again, without a commit of the stream between them. */
const RELOADS_MAX = 3;

/**
 * Loads what is missing of the window, up to the head or, followed, for ever.
 *
 * @throws WarehouseError as the server, the data or the database fails
 */
export const loadBlocks = async (options: IngestOptions, openPipeline: OpenPipeline): Promise<IngestEnd> => {
  const { pool, stream } = options;
  const heads = options.follow ? null : await findHeads(options);
  if (heads?.size === 0) return 'nothing synced';
  for (const [network, { number: block }] of heads ?? [])
    options.onEvent({ kind: 'head', stream, network, block });
  if (heads !== null) refuseSpan(heads.size, options.window);
  const store = postgresStore(pool, stream);
  let rewinds: readonly Rewind[] = [];
  let reloads = 0;
  for (let passes = 0; ; passes++) {
    const pass = await planPass(store, options.window);
    if (pass === null || (rewinds.length === 0 && isLoaded(pass.tails, heads, pass.window)))
      return passes === 0 ? 'nothing new' : 'complete';
    const { end, rewind, commits } = await runPass(options, openPipeline, pass, heads, rewinds);
    rewinds = commits > 0 ? [] : rewinds;
    reloads = commits > 0 ? 0 : reloads;
    if (rewind !== null && rewind.reload !== null) {
      if (reloads++ >= RELOADS_MAX) throw unknownTo(rewind);
      if ((await reload(options, openPipeline, rewind.network, rewind.reload)) === 'stopped')
        return 'stopped';
      rewinds = [];
    } else if (rewind !== null) rewinds = stepBack(rewinds, rewind);
    else if (end !== 'complete' || !pass.more) return end;
    else rewinds = [];
  }
};

/** The next pass, from the part of the ledger around the first hole where one was asked for. */
const planPass = async (store: StateStore, asked: BlockWindow): Promise<Pass | null> => {
  const tails = await store.tails(asked.to);
  const [network] = tails.keys();
  if (asked.from === null || network === undefined || tails.size > 1) return nextPass(tails, asked);
  const [gap] = await store.gaps(network, asked);
  return gap === undefined ? null : nextPass(await store.tails(gap.from), { from: gap.from, to: asked.to });
};

const stepBack = (rewinds: readonly Rewind[], rewind: Rewind): readonly Rewind[] => {
  if (rewinds.length < REWINDS_MAX) return [...rewinds, rewind];
  throw unknownTo(rewind);
};

const unknownTo = ({ network, to, reload: from }: Rewind): WarehouseError =>
  new WarehouseError(
    'protocol',
    `the server knows none of the blocks it was asked to go on behind, back to ${to?.number ?? from ?? 'the first'}`,
    { network, remedy: 'Check that the server serves the chain that was loaded here.' },
  );

/** Behind a catch-up there is no hash that would show how deep a fork is: what it may have reached is asked for as one answer. */
const reload = async (
  options: IngestOptions,
  openPipeline: OpenPipeline,
  network: string,
  from: number,
): Promise<PartitionOutcome['kind']> => {
  const span = { from, to: options.window.to };
  const { kind } = await loadPartition({
    ...options,
    span,
    network,
    ranges: true,
    openPipeline,
    splitAt: null,
    replace: { to: null, isReorg: true },
  });
  return kind;
};

/** What the server is asked to go on behind: the newest known blocks, but for networks that must go back further. */
const resumeBehind = (tails: LedgerTails, rewinds: readonly Rewind[]): readonly Watermark[] => {
  const back = new Map(rewinds.map(({ network, to }) => [network, to]));
  return resumeFrom(tails).flatMap((newest) => {
    const to = back.get(newest.network);
    return to === null ? [] : [to ?? newest];
  });
};

/** What one pass came to. */
interface PassEnd {
  readonly end: IngestEnd;
  readonly rewind: Rewind | null;
  /** Watermarks handed over. */
  readonly commits: number;
}

const runPass = async (
  options: IngestOptions,
  openPipeline: OpenPipeline,
  pass: Pass,
  heads: Heads | null,
  rewinds: readonly Rewind[],
): Promise<PassEnd> => {
  const { client, config } = options;
  const { window } = pass;
  const resume = resumeBehind(pass.tails, rewinds);
  // A buffer of nothing says that there are no forks, not that each is too deep.
  let state = protocolStart(pass.tails, resume, config.parallel?.reorg_buffer || REORG_BUFFER_BLOCKS);
  let [notReady, commits] = [false, 0];
  let rewind: Rewind | null = null;
  const end = await readInto(options, openPipeline, {
    query: wrapQuery(config.query, config.block, window),
    stream: true,
    resume,
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
      ({ state, rewind } = step);
      notReady ||= step.notReady;
      if (rewind !== null) return true;
      for (const range of step.reorgs) await pipeline.reorg(range);
      for (const { range, to } of step.rereads) await pipeline.reread(range, to);
      if (step.load && rows !== null) await pipeline.append(rows, metadata.ranges, step.replayed);
      if (step.watermark === null) return false;
      await pipeline.watermark(step.watermark);
      commits++;
      return isReached(state.tails, heads, window);
    },
  });
  return { end: end === 'ended' ? endOfStream(client, state, notReady) : end, rewind, commits };
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

/** Whether every network is loaded up to its head, or to the window's end; without heads only a window has an end. */
const isReached = (tails: LedgerTails, heads: Heads | null, { from, to }: BlockWindow): boolean => {
  const last = (to ?? Infinity) - 1;
  const wanted = heads ?? new Map([...tails.keys()].map((network) => [network, { number: Infinity }]));
  if (wanted.size === 0) return false;
  return [...wanted].every(([network, { number }]) => {
    const end = Math.min(number, last);
    return end < (from ?? 0) || (tails.get(network)?.at(-1)?.end ?? -1) >= end;
  });
};

/** Whether there is nothing to ask for: all is reached, and the head is the block that was loaded, not another fork's. */
const isLoaded = (tails: LedgerTails, heads: Heads | null, window: BlockWindow): boolean =>
  isReached(tails, heads, window) &&
  [...(heads ?? [])].every(([network, { number, hash }]) => {
    const loaded = tails.get(network)?.findLast((range) => range.end === number);
    return loaded === undefined || loaded.hash === '' || loaded.hash === hash;
  });

/** The newest block of each network, as {@link findSynced} has it. */
export const findHeads = async (
  options: Pick<IngestOptions, 'client' | 'config' | 'signal' | 'headLimit_ms'>,
): Promise<Heads> =>
  new Map(
    (await findSynced(options)).map((range) => [range.network, { number: range.end, hash: range.hash }]),
  );
