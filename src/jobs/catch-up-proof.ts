/**
 * What is loaded is proved before anything joins it.
 *
 * The ledger has islands: unbroken runs of ranges, which join by hash. The newest block of an island whose hash is known proves all
 * before it, if it is still on the chain; else the island has to go back to the newest one that is. What comes behind the last
 * known hash, as `--to` leaves it, proves nothing, and goes where a reorg may have reached it. The first block that goes is
 * loaded again in place of all: so the ledger never forgets where it begins, and what is missing then is a hole as any other.
 */
import {
  islandsOf,
  knownBlocks,
  LEDGER_HORIZON,
  REORG_BUFFER_BLOCKS,
  type LedgerTail,
} from '../chain/ledger-tail.ts';
import type { BlockRange, Watermark } from '../chain/range.ts';
import { WarehouseError } from '../runtime/errors.ts';
import { postgresStore } from '../warehouse/state/postgres.ts';
import { hashesAround } from './catch-up-hashes.ts';
import { openLoader, retryOf, type CatchUp } from './catch-up-holes.ts';
import { loadPartition } from './catch-up-partition.ts';

/** Blocks of an island that go. */
interface Doubt {
  readonly from: number;
  /** The last block of the island. */
  readonly to: number;
  readonly isReorg: boolean;
}

/**
 * Takes back what is loaded and has left the chain, wherever that is, and what nothing proves.
 *
 * @returns the first block that something was taken back from; infinite where nothing was
 * @throws WarehouseError `protocol` where so much would have to go that it is more likely another chain; nothing of it is gone then
 */
export const proveLoaded = async (run: CatchUp, head: BlockRange): Promise<number> => {
  const { options, pools, network } = run;
  const tails = await postgresStore(pools.beside, options.stream).tails();
  let lowest = Infinity;
  for (const island of islandsOf(tails.get(network) ?? [])) {
    if (options.signal.aborted) break;
    const doubt = (await forkedFrom(run, island, head)) ?? unprovedOf(run, island, head);
    if (doubt === null) continue;
    await takeBack(run, doubt, head);
    lowest = Math.min(lowest, doubt.from);
  }
  return lowest;
};

/** From where on an island is of a fork that has left the chain; null where it is not, or nobody can say. */
const forkedFrom = async (run: CatchUp, island: LedgerTail, head: BlockRange): Promise<Doubt | null> => {
  const [first, last] = [island[0]!, island.at(-1)!];
  // A server that has not come so far says nothing of the blocks ahead of it.
  const known = knownBlocks(island).filter(({ number }) => number <= head.end);
  const newest = known[0] === undefined ? null : await isOnChain(run, known[0]);
  if (newest !== false) return null;
  const proved = await newestOnChain(run, known);
  if (proved !== null) return { from: proved.number + 1, to: last.end, isReorg: true };
  const begins = first.prevHash !== null && first.start > 0;
  const isJoined =
    begins &&
    (await isOnChain(run, { network: first.network, number: first.start - 1, hash: first.prevHash }));
  if (isJoined !== true && last.end - first.start >= LEDGER_HORIZON) throw beyondHorizon(run, island);
  return { from: first.start, to: last.end, isReorg: true };
};

/** Null where the server does not say it. */
const isOnChain = async ({ ask, options }: CatchUp, { number, hash }: Watermark): Promise<boolean | null> => {
  const now = await retryOf(options)(() => ask(number + 1), { from: number, to: number + 1 });
  return now === null ? null : now === hash;
};

/** The newest of these blocks (newest first, the first is not) that is on the chain: found in steps that double, then halve. */
const newestOnChain = async (run: CatchUp, known: readonly Watermark[]): Promise<Watermark | null> => {
  let [off, step, on] = [0, 1, known.length];
  for (; off + step < known.length; step *= 2) {
    if ((await isOnChain(run, known[off + step]!)) === true) {
      on = off + step;
      break;
    }
    off += step;
  }
  while (on - off > 1) {
    const middle = (off + on) >> 1;
    if ((await isOnChain(run, known[middle]!)) === true) on = middle;
    else off = middle;
  }
  return known[on] ?? null;
};

/** The newest blocks of an island whose hash is not known, where this run loads what comes behind them. */
const unprovedOf = ({ options }: CatchUp, island: LedgerTail, head: BlockRange): Doubt | null => {
  const { end } = island.at(-1)!;
  const unknown = island[island.findLastIndex(({ hash }) => hash !== '') + 1];
  if (unknown === undefined || end > head.end || end + 1 >= (options.window.to ?? Infinity)) return null;
  const buffer = Math.max(options.config.parallel?.reorg_buffer ?? 0, REORG_BUFFER_BLOCKS);
  return { from: Math.max(unknown.start, end + 1 - buffer), to: end, isReorg: false };
};

const takeBack = async (run: CatchUp, { from, to, isReorg }: Doubt, head: BlockRange): Promise<void> => {
  const { options, network, only } = run;
  const span = { from, to: from + 1 };
  // Where reorgs still happen no hash is right for long: what has none is replaced with all of them.
  const isSettled = from + (options.config.parallel?.reorg_buffer ?? 0) <= head.end;
  await retryOf(options)(
    async () =>
      loadPartition({
        ...options,
        span,
        network,
        ranges: true,
        only,
        ...(isSettled ? { known: await hashesAround(run.ask, span) } : {}),
        openPipeline: openLoader(run, 1),
        splitAt: null,
        replace: { to, isReorg },
      }),
    span,
  );
};

const beyondHorizon = ({ options, network }: CatchUp, island: LedgerTail): WarehouseError =>
  new WarehouseError(
    'protocol',
    `none of the blocks ${island[0]!.start}–${island.at(-1)!.end} whose hash is known is on the server's chain`,
    {
      stream: options.stream,
      network,
      block: island[0]!.start,
      remedy:
        'Nothing was erased. Check that the server serves the chain that was loaded here; if it does, load it again under a new stream name.',
    },
  );
