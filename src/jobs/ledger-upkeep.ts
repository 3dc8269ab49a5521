/** Keeps the ledger of a stream short while it grows: what no reorg can reach any more is merged, beside the stream. */
import { LEDGER_HORIZON } from '../chain/ledger-tail.ts';
import type { Pool } from '../db/query.ts';
import type { Committed } from '../warehouse/batches.ts';
import { postgresStore } from '../warehouse/state/postgres.ts';

/** The upkeep of one run. */
export interface LedgerUpkeep {
  /** Takes note of a commit; never waits, never fails. */
  note(result: Committed): void;
  /** Waits for what it is at. */
  finish(): Promise<void>;
}

/** Ranges of a network between two clean-ups; the newest {@link LEDGER_HORIZON} are never touched, so a ledger has about twice as many. */
const EVERY_RANGES = LEDGER_HORIZON;

/** Upkeep by a connection of `pool`: with the first commit of each network, for those before it, and then now and again. */
export const createUpkeep = (pool: Pool, stream: string): LedgerUpkeep => {
  const store = postgresStore(pool, stream);
  const ranges = new Map<string, number>();
  let running = Promise.resolve();
  return {
    note: ({ ranges: committed }) => {
      for (const [network, ofNetwork] of Map.groupBy(committed, ({ range }) => range.network)) {
        const since = (ranges.get(network) ?? EVERY_RANGES) + ofNetwork.length;
        ranges.set(network, since < EVERY_RANGES ? since : 0);
        if (since < EVERY_RANGES) continue;
        const before = Math.max(...ofNetwork.map(({ range }) => range.start));
        // A ledger that stays long for a while harms nobody; what is wrong with the database the stream itself finds out.
        running = running.then(() => store.cleanup(network, before)).then(nothing, nothing);
      }
    },
    finish: () => running,
  };
};

const nothing = (): void => undefined;
