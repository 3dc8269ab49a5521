/** The protocol against a server's whole life, without a wire: whatever forks, restarts and forgetting, the ledger ends as the chain. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { resumeFrom, type LedgerTails } from '../../src/chain/ledger-tail.ts';
import { protocolStart, protocolStep } from '../../src/chain/protocol.ts';
import type { Watermark } from '../../src/chain/range.ts';
import { createChain, type SimulatedChain } from '../../src/devnet/chain.ts';
import { nextMicrobatch, type Position } from '../../src/devnet/microbatch.ts';
import { propertyOptions } from '../seed.ts';

/** Some time of a server: the head moves, it is asked again, and sends what it has. */
const chapters = fc.array(
  fc.record({
    fork: fc.integer({ min: 0, max: 64 }),
    blocks: fc.integer({ min: 1, max: 20 }),
    microbatch: fc.integer({ min: 1, max: 12 }),
    /** Microbatches until the connection breaks. */
    sent: fc.integer({ min: 0, max: 30 }),
  }),
  { minLength: 1, maxLength: 12 },
);

/** One connection: what the server sends behind `resume`, and what is loaded by it; `rows` is the table, a row a block. */
const connect = (
  chain: SimulatedChain,
  rows: string[],
  tails: LedgerTails,
  resume: Watermark | null,
  { microbatch, sent }: { readonly microbatch: number; readonly sent: number },
): { readonly tails: LedgerTails; readonly rewind: { readonly to: Watermark | null } | null } => {
  let state = protocolStart(tails, resume === null ? [] : [resume]);
  let position: Position | null = resume;
  for (let count = 0; count < sent; count += 1) {
    const range = nextMicrobatch(chain, chain.view(), position, microbatch);
    if (range === null) break;
    const step = protocolStep(state, { ranges: [range], complete: true });
    if (step.rewind !== null) return { tails: state.tails, rewind: step.rewind };
    ({ state } = step);
    for (const erased of [...step.reorgs, ...step.rereads.map((reread) => reread.range)])
      rows.splice(erased.start);
    for (let block = range.start; step.load && block <= range.end; block += 1)
      rows.push(chain.view().hashOf(block));
    position = { number: range.end, hash: range.hash };
  }
  return { tails: state.tails, rewind: null };
};

/** Connects until nothing must be stepped back from; at most as often as the ledger has powers of two. */
const catchUp = (
  chain: SimulatedChain,
  rows: string[],
  before: LedgerTails,
  how: { readonly microbatch: number; readonly sent: number },
): LedgerTails => {
  let tails = before;
  let resume = resumeFrom(tails)[0] ?? null;
  for (let connections = 0; connections < 16; connections += 1) {
    const end = connect(chain, rows, tails, resume, how);
    ({ tails } = end);
    if (end.rewind === null) return tails;
    resume = end.rewind.to;
  }
  throw new Error('it never stops going back');
};

test.each([true, false])('a server that remembers forks: %s', (remembersForks) => {
  fc.assert(
    fc.property(chapters, (story) => {
      const chain = createChain({ blocks: 40, remembersForks, transfersPerBlock: 0, logsPerBlock: 0 });
      const rows: string[] = [];
      let tails: LedgerTails = new Map();
      for (const { fork, blocks, ...how } of story) {
        // A branch is never shorter than what it replaces: the protocol announces blocks, not their end.
        const depth = Math.min(fork, chain.view().head! + 1);
        if (depth === 0) chain.advance(blocks);
        else chain.reorg(depth, depth + blocks);
        tails = catchUp(chain, rows, tails, how);
      }
      const view = chain.view();
      const [ledger = []] = catchUp(chain, rows, tails, { microbatch: 7, sent: 1000 }).values();
      let next = 0;
      for (const range of ledger) {
        expect(range.start).toBe(next);
        if (range.hash !== '') expect(range.hash).toBe(view.hashOf(range.end));
        next = range.end + 1;
      }
      expect(next).toBe(view.head! + 1);
      expect(rows).toEqual(Array.from({ length: next }, (_, block) => view.hashOf(block)));
    }),
    propertyOptions(100),
  );
});
