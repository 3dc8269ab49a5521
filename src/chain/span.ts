/** Which blocks a run loads next: those of the span it was asked for that the ledger does not have yet. Pure. */
import { WarehouseError } from '../runtime/errors.ts';
import { isTruncated, REORG_BUFFER_BLOCKS, type LedgerTail, type LedgerTails } from './ledger-tail.ts';
import type { BlockWindow } from './window.ts';

/** One pass over a stream, from the first block that is missing to the next one that is there. */
export interface Pass {
  /** What is asked of the server, and what its ranges are clipped to. */
  readonly window: BlockWindow;
  /** What is loaded before the pass; a reorg may take back any of it. */
  readonly tails: LedgerTails;
  /** Whether blocks that were asked for may still be missing behind it. */
  readonly more: boolean;
}

/**
 * The next pass of a run over the blocks `asked`, given what is loaded. Without `from` a run goes on behind the last block
 * that is loaded; with it, holes behind `from` come first, lowest first. Null when nothing is missing.
 *
 * @throws WarehouseError `usage` for a span of a stream with several networks, whose block numbers have nothing in common
 */
export const nextPass = (tails: LedgerTails, asked: BlockWindow): Pass | null => {
  if (tails.size > 1) {
    refuseSpan(tails.size, asked);
    return { window: asked, tails, more: false };
  }
  const [network, tail] = [...tails][0] ?? ['', []];
  const before = asked.from === null ? tail.filter((range) => range.start < (asked.to ?? Infinity)) : tail;
  const missing = asked.from === null ? endOf(before) + 1 : firstMissing(tail, asked.from);
  if (missing >= (asked.to ?? Infinity)) return null;
  const next = tail.find((range) => range.start > missing);
  const island = islandBefore(tail, missing);
  return {
    window: { from: lowerBound(island, tail, missing, asked), to: least(asked.to, next?.start ?? null) },
    tails: island.length === 0 ? new Map() : new Map([[network, island]]),
    more: next !== undefined && next.start < (asked.to ?? Infinity),
  };
};

/**
 * Refuses `--from` and `--to` where they cannot mean one thing.
 *
 * @throws WarehouseError `usage`
 */
export const refuseSpan = (networks: number, asked: BlockWindow): void => {
  if (networks < 2 || (asked.from === null && asked.to === null)) return;
  throw new WarehouseError('usage', `a span of blocks was given for a stream of ${networks} networks`, {
    remedy: 'Leave out --from and --to: each network counts its own blocks.',
  });
};

const endOf = (tail: LedgerTail): number => tail.at(-1)?.end ?? -1;

/** The first block from `from` on that no range covers. */
const firstMissing = (tail: LedgerTail, from: number): number =>
  tail.reduce((block, range) => (range.start <= block && range.end >= block ? range.end + 1 : block), from);

/** The unbroken run of ranges that ends right before `block`. */
const islandBefore = (tail: LedgerTail, block: number): LedgerTail => {
  const before = tail.filter((range) => range.end < block);
  const gap = before.findLastIndex((range, index) => range.end + 1 !== (before[index + 1]?.start ?? block));
  return before.slice(gap + 1);
};

/**
 * Behind a block whose hash is not known there is nothing a server could resume from, and nothing that would show a reorg
 * of it: the newest {@link REORG_BUFFER_BLOCKS} of such blocks are read again and replaced. Otherwise the pass is clipped to
 * the island, not to `from`, for a reorg may reach back into what is loaded.
 */
const lowerBound = (
  island: LedgerTail,
  tail: LedgerTail,
  missing: number,
  asked: BlockWindow,
): number | null => {
  if (island.length === 0) return tail.length === 0 ? asked.from : missing;
  const unknown = island[island.findLastIndex(({ hash }) => hash !== '') + 1];
  if (unknown !== undefined) return Math.max(unknown.start, missing - REORG_BUFFER_BLOCKS);
  const start = island[0]?.start ?? 0;
  return start > 0 && !isTruncated(island) ? start : null;
};

const least = (a: number | null, b: number | null): number | null =>
  a === null ? b : b === null ? a : Math.min(a, b);
