/**
 * The stream protocol as a pure state machine: metadata of one Flight message in, what it means out.
 *
 * ```
 *            rows, same ranges                 empty or rows, complete
 *   ┌────► open microbatch ◄──┐ ───────────────────────────────► idle
 *   │        └────────────────┘                                   │
 *   └───── new ranges: data · duplicate · reorg ──────────────────┘
 * ```
 *
 * A microbatch is a run of messages with identical ranges whose last says `complete`. There is no reorg flag on the wire:
 * a reorg is a range that starts at or before the end of what is loaded and is not a replay of it.
 */
import { WarehouseError } from '../runtime/errors.ts';
import type { BatchMetadata, BlockRange } from './range.ts';

/** Ledger rows kept in memory per network: how far back a replay or a fork is recognised without the database. */
export const LEDGER_HORIZON = 4096;

/** The newest committed ranges of one network, oldest first, at most {@link LEDGER_HORIZON}. */
export type LedgerTail = readonly BlockRange[];

/** How a new range stands to what is loaded. */
export type Verdict =
  | { readonly kind: 'data' }
  | { readonly kind: 'duplicate' }
  | { readonly kind: 'reorg'; readonly range: BlockRange };

/** The microbatch that is being received. */
interface OpenMicrobatch {
  readonly ranges: readonly BlockRange[];
  readonly duplicate: boolean;
}

/** All the machine remembers between two messages. */
export interface ProtocolState {
  readonly tails: ReadonlyMap<string, LedgerTail>;
  readonly open: OpenMicrobatch | null;
}

/** What one message means, in the order in which it must be acted on. */
export interface ProtocolStep {
  readonly state: ProtocolState;
  /** Networks whose blocks from `range.start` on are no longer on the chain: erase them first. */
  readonly reorgs: readonly BlockRange[];
  /** Whether the rows of this message are to be loaded; false for a replayed microbatch. */
  readonly load: boolean;
  /** Ranges that are whole now: commit them with their rows. */
  readonly watermark: readonly BlockRange[] | null;
  /** The server has nothing synced yet: ask again later, and never store this as a position. */
  readonly notReady: boolean;
}

/** The machine at the start of a stream that goes on behind `tails`. */
export const protocolStart = (tails: ReadonlyMap<string, LedgerTail>): ProtocolState => ({
  tails,
  open: null,
});

/**
 * Takes one message.
 *
 * @throws WarehouseError `protocol` when the server breaks the rules: a gap, a wrong parent, ranges that change inside a
 *   microbatch. Nothing of the message may then be loaded.
 */
export const protocolStep = (state: ProtocolState, metadata: BatchMetadata): ProtocolStep => {
  if (metadata.ranges.length === 0) return emptyRanges(state, metadata);
  if (state.open !== null) {
    if (!sameRanges(state.open.ranges, metadata.ranges)) {
      throw refuse(
        metadata.ranges[0],
        `changes its ranges from ${describeAll(state.open.ranges)} before that microbatch is complete`,
      );
    }
    return continueMicrobatch(state, state.open, [], metadata.complete);
  }
  const verdicts = metadata.ranges.map((range) => classify(state.tails.get(range.network) ?? [], range));
  const duplicates = verdicts.filter((verdict) => verdict.kind === 'duplicate').length;
  if (duplicates > 0 && duplicates < verdicts.length) {
    throw refuse(metadata.ranges[0], 'repeats committed blocks on one network beside new ones on another');
  }
  const reorgs = verdicts.flatMap((verdict) => (verdict.kind === 'reorg' ? [verdict.range] : []));
  const tails = new Map(state.tails);
  for (const range of reorgs) tails.set(range.network, cutTail(tails.get(range.network) ?? [], range));
  const open = { ranges: metadata.ranges, duplicate: duplicates > 0 };
  return continueMicrobatch({ tails, open }, open, reorgs, metadata.complete);
};

const emptyRanges = (state: ProtocolState, metadata: BatchMetadata): ProtocolStep => {
  if (state.open !== null || !metadata.complete) {
    throw new WarehouseError('protocol', 'the server sent a batch without block ranges inside a microbatch', {
      remedy: 'Report it to the operator of the server; nothing of the microbatch was committed.',
    });
  }
  return { state, reorgs: [], load: false, watermark: null, notReady: true };
};

const continueMicrobatch = (
  state: ProtocolState,
  open: OpenMicrobatch,
  reorgs: readonly BlockRange[],
  complete: boolean,
): ProtocolStep => {
  const load = !open.duplicate;
  if (!complete) return { state, reorgs, load, watermark: null, notReady: false };
  const tails = new Map(state.tails);
  if (load)
    for (const range of open.ranges)
      tails.set(range.network, extendTail(tails.get(range.network) ?? [], range));
  return {
    state: { tails, open: null },
    reorgs,
    load,
    watermark: load ? open.ranges : null,
    notReady: false,
  };
};

/** How `incoming` stands to the committed ranges of its network. */
export const classify = (tail: LedgerTail, incoming: BlockRange): Verdict => {
  if (incoming.end < incoming.start) throw refuse(incoming, 'ends before it starts');
  const last = tail.at(-1);
  if (last === undefined) return { kind: 'data' };
  if (incoming.start > last.end + 1) {
    throw refuse(incoming, `leaves a gap: block ${last.end} is the last one loaded`);
  }
  if (incoming.start === last.end + 1) {
    if (differ(incoming.prevHash, last.hash))
      throw refuse(
        incoming,
        `does not follow block ${last.end} (${last.hash}), its parent is ${incoming.prevHash}`,
      );
    return { kind: 'data' };
  }
  if (isReplay(tail, incoming)) return { kind: 'duplicate' };
  const oldest = tail[0];
  if (oldest !== undefined && tail.length >= LEDGER_HORIZON && incoming.start < oldest.start) {
    throw refuse(
      incoming,
      `starts further back than the ${LEDGER_HORIZON} newest batches, which begin at block ${oldest.start}`,
    );
  }
  if (incoming.prevHash !== null && incoming.prevHash === last.hash) {
    throw refuse(incoming, `goes back behind block ${last.end} yet names it as its parent`);
  }
  const parent = tail.find((known) => known.end === incoming.start - 1);
  if (parent !== undefined && differ(incoming.prevHash, parent.hash)) {
    throw refuse(
      incoming,
      `forks off deeper than it starts: block ${parent.end} was loaded as ${parent.hash}, its parent is ${incoming.prevHash}`,
    );
  }
  return { kind: 'reorg', range: incoming };
};

/** The tail without the blocks from `reorg.start` on; a range that the fork cuts keeps its blocks before it. */
export const cutTail = (tail: LedgerTail, reorg: BlockRange): LedgerTail =>
  tail
    .filter((range) => range.start < reorg.start)
    .map((range) =>
      range.end >= reorg.start ? { ...range, end: reorg.start - 1, hash: reorg.prevHash ?? '' } : range,
    );

const extendTail = (tail: LedgerTail, range: BlockRange): LedgerTail => [
  ...tail.slice(1 - LEDGER_HORIZON),
  range,
];

const sameRange = (a: BlockRange, b: BlockRange): boolean =>
  a.network === b.network && a.start === b.start && a.end === b.end && a.hash === b.hash;

/**
 * Whether all blocks of a range are loaded. The hash of its last block stands for all before it, so the same blocks are
 * recognised although they were cut into batches otherwise.
 */
const isReplay = (tail: LedgerTail, incoming: BlockRange): boolean => {
  const last = tail.findLastIndex(
    (known) => known.end === incoming.end && known.hash === incoming.hash && known.hash !== '',
  );
  if (last < 0) return tail.some((known) => sameRange(known, incoming));
  let first = last;
  while (first > 0 && tail[first]!.start > incoming.start && tail[first - 1]!.end === tail[first]!.start - 1)
    first--;
  return tail[first]!.start <= incoming.start;
};

const sameRanges = (a: readonly BlockRange[], b: readonly BlockRange[]): boolean =>
  a.length === b.length && a.every((range, index) => b[index] !== undefined && sameRange(range, b[index]));

/** Two hashes that are both known and not the same. */
const differ = (a: string | null, b: string | null): boolean =>
  a !== null && b !== null && a !== '' && b !== '' && a !== b;

const describeAll = (ranges: readonly BlockRange[]): string =>
  ranges.map((range) => `${range.network} ${range.start}–${range.end}`).join(', ');

const refuse = (range: BlockRange | undefined, what: string): WarehouseError =>
  new WarehouseError('protocol', `the server's range ${range ? describeAll([range]) : '(none)'} ${what}`, {
    ...(range ? { network: range.network, block: range.start } : {}),
    remedy:
      'Nothing of it was committed. Restart the stream; if it comes again, the server and this ledger disagree about the chain.',
  });
