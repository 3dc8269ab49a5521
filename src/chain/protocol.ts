/**
 * The stream protocol as a pure state machine: metadata of one Flight message in, what it means out.
 *
 * ```
 *            same ranges                              same ranges, complete
 *   ┌────► loading · skipping ◄──┐ ──────────────────────────────────────────► idle
 *   │        └───────────────────┘                                              │
 *   └──── new ranges: next, fork, reread → loading · replay → skipping ─────────┘
 * ```
 *
 * A microbatch is a run of messages with identical ranges whose last says `complete`. What holds at every step, each a
 * test of the same number:
 *
 *  1. Nothing is committed before the message that completes its microbatch.
 *  2. A microbatch keeps its ranges from its first message to its last.
 *  3. The ranges of a network follow each other without hole or overlap; its watermark is the end of the last one.
 *  4. No block is loaded twice: a microbatch that comes again is known by all its messages, and changes nothing.
 *  5. A reorg takes back exactly the blocks from its start on, wherever in a batch that is, and its own rows are loaded.
 *  6. A fork is believed only where the block before it is proved; otherwise the stream goes back, and nothing is erased.
 *  7. Going back ends: each step asks for an older block, behind the oldest stored hash it is refused.
 *  8. What is refused changes nothing: the state before it is still the state.
 *  9. Each network has its own position; what happens to one leaves the others alone.
 * 10. A message without rows changes nothing but may complete: a keep-alive is none of our business, wherever it comes.
 * 11. A server that is not ready says no position.
 * 12. A block whose hash is unknown is never gone on behind: what is sent instead takes its place.
 */
import { WarehouseError } from '../runtime/errors.ts';
import {
  cutTail,
  extendTail,
  REORG_BUFFER_BLOCKS,
  resumeFrom,
  type LedgerTail,
  type LedgerTails,
} from './ledger-tail.ts';
import type { BatchMetadata, BlockRange, Watermark } from './range.ts';
import { classify, type Verdict } from './reorg.ts';

/** Whether a microbatch is being received, and what becomes of its rows. */
export type Phase = 'idle' | 'loading' | 'skipping';

/** What a message is, seen from the phase and the ledger. */
export type ProtocolEvent =
  /** No ranges, complete: nothing is synced yet. */
  | 'unready'
  /** No ranges, and not complete. */
  | 'rangeless'
  /** The ranges of the microbatch at hand. */
  | 'same'
  /** Other ranges than those of the microbatch at hand. */
  | 'changed'
  | Verdict['kind'];

/** What is done about it. */
export type Move = 'wait' | 'load' | 'skip' | 'rewind' | 'refuse';

const IN_MICROBATCH = {
  unready: 'refuse',
  rangeless: 'refuse',
  changed: 'refuse',
  next: 'refuse',
  fork: 'refuse',
  reread: 'refuse',
  replay: 'refuse',
  rewind: 'refuse',
  refused: 'refuse',
} as const;

/** Every message in every phase. */
export const TRANSITIONS: Readonly<Record<Phase, Readonly<Record<ProtocolEvent, Move>>>> = {
  idle: {
    unready: 'wait',
    rangeless: 'refuse',
    same: 'refuse',
    changed: 'refuse',
    next: 'load',
    fork: 'load',
    reread: 'load',
    replay: 'skip',
    rewind: 'rewind',
    refused: 'refuse',
  },
  loading: { ...IN_MICROBATCH, same: 'load' },
  skipping: { ...IN_MICROBATCH, same: 'skip' },
};

/** The microbatch that is being received. */
interface OpenMicrobatch {
  readonly ranges: readonly BlockRange[];
  /** Networks whose part of it was loaded before. */
  readonly replayed: ReadonlySet<string>;
}

/** All the machine remembers between two messages. */
export interface ProtocolState {
  readonly tails: LedgerTails;
  /** The block of each network that the server goes on behind. */
  readonly positions: ReadonlyMap<string, number>;
  readonly open: OpenMicrobatch | null;
  /** Newest blocks that a reorg may take back where nothing proves how deep it is. */
  readonly buffer: number;
}

/** What one message means, in the order in which it must be acted on. */
export interface ProtocolStep {
  readonly state: ProtocolState;
  /**
   * The stream must be opened again, this network behind `to` (null: from its beginning), or after its blocks from `reload` on
   * were loaded again; nothing else is set then.
   */
  readonly rewind: {
    readonly network: string;
    readonly to: Watermark | null;
    readonly reload: number | null;
  } | null;
  /** Networks whose blocks from `range.start` on are no longer on the chain: erase them first. */
  readonly reorgs: readonly BlockRange[];
  /** Blocks up to `to` that come again because their hash was never known: no reorg, but erased first as well. */
  readonly rereads: readonly { readonly range: BlockRange; readonly to: number }[];
  /** Whether rows of this message are to be loaded; false for a replayed microbatch. */
  readonly load: boolean;
  /** Networks whose rows in this message are loaded already. */
  readonly replayed: ReadonlySet<string>;
  /** Ranges that are whole now: commit them with their rows. */
  readonly watermark: readonly BlockRange[] | null;
  /** The server has nothing synced yet: ask again later, and never store this as a position. */
  readonly notReady: boolean;
}

const NOTHING: Omit<ProtocolStep, 'state'> = {
  rewind: null,
  reorgs: [],
  rereads: [],
  load: false,
  replayed: new Set(),
  watermark: null,
  notReady: false,
};

/**
 * The machine at the start of a stream that goes on behind `tails`.
 *
 * @param resume what the server was asked to go on behind
 * @param buffer newest blocks that a reorg may take back where nothing proves how deep it is
 */
export const protocolStart = (
  tails: LedgerTails,
  resume: readonly Watermark[] = resumeFrom(tails),
  buffer: number = REORG_BUFFER_BLOCKS,
): ProtocolState => ({
  tails,
  positions: new Map(resume.map(({ network, number }) => [network, number])),
  open: null,
  buffer,
});

/**
 * Takes one message.
 *
 * @throws WarehouseError `protocol` when the server breaks the rules: a gap, a wrong parent, ranges that change inside a
 *   microbatch, a fork from further back than the ledger's hashes reach. Nothing of the message may then be loaded.
 */
export const protocolStep = (state: ProtocolState, metadata: BatchMetadata): ProtocolStep => {
  const phase = phaseOf(state);
  const verdicts = state.open === null ? metadata.ranges.map((range) => verdictOn(state, range)) : [];
  const event = eventOf(state, metadata, verdicts);
  switch (TRANSITIONS[phase][event]) {
    case 'wait':
      return { ...NOTHING, state, notReady: true };
    case 'rewind':
      return { ...NOTHING, state, rewind: firstRewind(verdicts) };
    case 'refuse':
      throw refusalOf(state, metadata, event, verdicts);
    case 'load':
    case 'skip':
      return state.open === null ? begin(state, metadata, verdicts) : goOn(state, state.open, metadata);
  }
};

const phaseOf = ({ open }: ProtocolState): Phase =>
  open === null ? 'idle' : open.replayed.size < open.ranges.length ? 'loading' : 'skipping';

/** A verdict with its range. */
type Judged = Verdict & { readonly range: BlockRange };

const verdictOn = ({ tails, positions, buffer }: ProtocolState, range: BlockRange): Judged => ({
  ...classify(tails.get(range.network) ?? [], range, positions.get(range.network) ?? null, buffer),
  range,
});

/** What the networks of a message come to together: the gravest of their verdicts. */
const GRAVITY: readonly Verdict['kind'][] = ['refused', 'rewind', 'fork', 'reread', 'next', 'replay'];

const eventOf = (
  { open }: ProtocolState,
  { ranges, complete }: BatchMetadata,
  verdicts: readonly Judged[],
): ProtocolEvent => {
  if (ranges.length === 0) return complete ? 'unready' : 'rangeless';
  if (open !== null) return sameRanges(open.ranges, ranges) ? 'same' : 'changed';
  return GRAVITY.find((kind) => verdicts.some((verdict) => verdict.kind === kind)) ?? 'replay';
};

const firstRewind = (verdicts: readonly Judged[]): ProtocolStep['rewind'] => {
  const found = verdicts.find((verdict) => verdict.kind === 'rewind');
  return found === undefined ? null : { network: found.range.network, to: found.to, reload: found.reload };
};

const begin = (state: ProtocolState, metadata: BatchMetadata, verdicts: readonly Judged[]): ProtocolStep => {
  const of = (kind: Verdict['kind']): BlockRange[] =>
    verdicts.filter((verdict) => verdict.kind === kind).map(({ range }) => range);
  const tailOf = ({ network }: BlockRange): LedgerTail => state.tails.get(network) ?? [];
  const reorgs = of('fork');
  const rereads = of('reread').map((range) => ({ range, to: tailOf(range).at(-1)?.end ?? range.end }));
  const tails = new Map(state.tails);
  for (const range of [...reorgs, ...of('reread')])
    tails.set(range.network, cutTail(tailOf(range), range.start));
  const open = { ranges: metadata.ranges, replayed: new Set(of('replay').map(({ network }) => network)) };
  return { ...goOn({ ...state, tails, open }, open, metadata), reorgs, rereads };
};

const goOn = (state: ProtocolState, open: OpenMicrobatch, { complete }: BatchMetadata): ProtocolStep => {
  const news = open.ranges.filter(({ network }) => !open.replayed.has(network));
  const step = { ...NOTHING, state, load: news.length > 0, replayed: open.replayed };
  if (!complete) return step;
  const tails = new Map(state.tails);
  const positions = new Map(state.positions);
  for (const range of news) tails.set(range.network, extendTail(tails.get(range.network) ?? [], range));
  for (const { network, end } of news) positions.set(network, end);
  // An old microbatch that comes again does not take the server back.
  for (const { network, end } of open.ranges)
    positions.set(network, Math.max(positions.get(network) ?? end, end));
  return {
    ...step,
    state: { ...state, tails, positions, open: null },
    watermark: news.length > 0 ? news : null,
  };
};

const sameRanges = (a: readonly BlockRange[], b: readonly BlockRange[]): boolean =>
  a.length === b.length &&
  a.every((range, index) => {
    const other = b[index];
    return (
      other !== undefined &&
      range.network === other.network &&
      range.start === other.start &&
      range.end === other.end &&
      range.hash === other.hash
    );
  });

const describeAll = (ranges: readonly BlockRange[]): string =>
  ranges.map((range) => `${range.network} ${range.start}–${range.end}`).join(', ');

const DISAGREE =
  'Nothing of it was committed. Restart the stream; if it comes again, the server and this ledger disagree about the chain.';
const BEYOND =
  'Nothing was erased. Check that the server serves the chain that was loaded here; if it does, load it again under a new stream name, with a `parallel.reorg_buffer` deeper than its forks.';

const refusalOf = (
  { open }: ProtocolState,
  { ranges }: BatchMetadata,
  event: ProtocolEvent,
  verdicts: readonly Judged[],
): WarehouseError => {
  if (event === 'unready' || event === 'rangeless') {
    return new WarehouseError(
      'protocol',
      'the server sent a batch without block ranges inside a microbatch',
      {
        remedy: 'Report it to the operator of the server; nothing of the microbatch was committed.',
      },
    );
  }
  const found = verdicts.find((verdict) => verdict.kind === 'refused');
  const range = found?.range ?? ranges[0];
  const what =
    found?.what ??
    `changes its ranges from ${describeAll(open?.ranges ?? [])} before that microbatch is complete`;
  return new WarehouseError('protocol', `the server's range ${describeAll(range ? [range] : [])} ${what}`, {
    ...(range ? { network: range.network, block: range.start } : {}),
    remedy: found?.refusal === 'horizon' ? BEYOND : DISAGREE,
  });
};
