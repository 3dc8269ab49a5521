/** What a faulty wire does to a stream, drawn from a seed. */
import { createChain } from '../../src/devnet/chain.ts';
import type { SimulatedChain } from '../../src/devnet/chain.ts';
import type { Spoil } from '../proxy.ts';

/** A repeatable source of integers below a bound: mulberry32. */
export type Random = (below: number) => number;

export const randomFrom = (start: number): Random => {
  let state = start | 0;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
};

/** A small chain that differs from run to run. */
export const chainOf = (seed: number): SimulatedChain =>
  createChain({ seed, accounts: 12, tokens: 3, transfersPerBlock: 8, blocks: 24, blockSeconds: 5_000 });

/** How a wire can be bad. */
const WAYS = ['slow', 'crumbs', 'narrow', 'cut', 'reset', 'silence', 'crumbs and cut'] as const;

/**
 * The fate of each connection: the first few are bad in a way drawn from the seed, later ones are sound, so that every run
 * comes to its end.
 *
 * @param bytes how far a connection gets before it is cut, at most
 */
export const badWire = (random: Random, bad: number, bytes: number): ((connection: number) => Spoil) => {
  const crumbs = (): number => 1 + random(7);
  const fates = Array.from({ length: bad }, (): Spoil => {
    const after = (what: 'cut' | 'reset' | 'silence') => ({ after: { bytes: 1 + random(bytes), what } });
    switch (WAYS[random(WAYS.length)]) {
      case 'slow':
        return { latency_ms: 1 + random(3), ...after('cut') };
      case 'crumbs':
        return { pieceBytes: crumbs, ...after('reset') };
      case 'narrow':
        return { bytesPerSecond: 200_000 + random(400_000), pieceBytes: () => 2000 };
      case 'cut':
        return after('cut');
      case 'reset':
        return after('reset');
      case 'silence':
        return after('silence');
      default:
        return { pieceBytes: crumbs, ...after('cut') };
    }
  });
  return (connection) => fates[connection] ?? {};
};

/** Waits that are short even by the fast clock: how long they are is proved elsewhere. */
export const IMPATIENT = { retry: { delay_ms: 250 }, breaker: { pause_ms: 2500 } };

/** Runs at once. */
const LANES = 3;

/** Plays runs, some at once: most of each is waiting. */
export const play = async (runs: number, one: (number: number) => Promise<void>): Promise<void> => {
  const waiting = Array.from({ length: runs }).keys();
  const lane = async (): Promise<void> => {
    for (const number of waiting) await one(number);
  };
  await Promise.all(Array.from({ length: LANES }, lane));
};
