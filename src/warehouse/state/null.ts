/** The ledger that remembers nothing: each run starts from the beginning, as one that only reads wants it. */
import type { StateStore } from './store.ts';

/** A store for runs whose rows need no position. */
export const nullStore = (): StateStore => ({
  isProcessed: () => Promise.resolve(false),
  markProcessed: () => Promise.resolve(),
  resumePosition: () => Promise.resolve([]),
  tails: () => Promise.resolve(new Map()),
  gaps: (_network, { from, to }) => Promise.resolve([{ from: from ?? 0, to }]),
  invalidSpan: () => Promise.resolve(null),
  invalidate: () => Promise.resolve(),
  cleanup: () => Promise.resolve(0),
});
