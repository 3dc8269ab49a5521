/** Which blocks a run loads: whatever is loaded and whatever is asked for, each missing block once, no block twice. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { LEDGER_HORIZON, type LedgerTail } from '../../src/chain/ledger-tail.ts';
import type { BlockRange } from '../../src/chain/range.ts';
import { classify } from '../../src/chain/reorg.ts';
import { REORG_BUFFER_BLOCKS } from '../../src/chain/ledger-tail.ts';
import { nextPass } from '../../src/chain/span.ts';
import type { BlockWindow } from '../../src/chain/window.ts';
import { propertyOptions } from '../seed.ts';

const HEAD = 60;

const range = (start: number, end: number, hash = `0x${end}`): BlockRange => ({
  network: 'net',
  start,
  end,
  hash,
  prevHash: `0x${start - 1}`,
  timestamp: null,
});

const tailsOf = (tail: LedgerTail): Map<string, LedgerTail> =>
  new Map(tail.length === 0 ? [] : [['net', tail]]);

const covered = (tail: LedgerTail): number[] =>
  tail.flatMap(({ start, end }) => Array.from({ length: end - start + 1 }, (_, index) => start + index));

/** A ledger from a list of blocks: neighbours make ranges of at most `size`; some have no hash, as behind a cut. */
const ledgers = fc
  .record({
    blocks: fc.uniqueArray(fc.integer({ min: 0, max: HEAD }), { maxLength: HEAD }),
    size: fc.integer({ min: 1, max: 8 }),
    unknown: fc.func(fc.boolean()),
  })
  .map(({ blocks, size, unknown }) => {
    const ranges: BlockRange[] = [];
    for (const block of blocks.toSorted((a, b) => a - b)) {
      const last = ranges.at(-1);
      if (last !== undefined && last.end === block - 1 && block - last.start < size)
        ranges[ranges.length - 1] = range(last.start, block);
      else ranges.push(range(block, block));
    }
    return ranges.map((known) => (unknown(known.end) ? { ...known, hash: '' } : known));
  });

const windows = fc.record({
  from: fc.option(fc.integer({ min: 0, max: HEAD + 5 }), { nil: null }),
  to: fc.option(fc.integer({ min: 1, max: HEAD + 10 }), { nil: null }),
});

/** Loads as a run does: pass by pass, up to the head; returns the ledger and the blocks loaded, in order. */
const play = (
  ledger: LedgerTail,
  asked: BlockWindow,
): { readonly ledger: LedgerTail; readonly loaded: readonly number[] } => {
  const loaded: number[] = [];
  let known = [...ledger];
  for (let passes = 0; passes < 2 * HEAD; passes += 1) {
    const pass = nextPass(tailsOf(known), asked);
    if (pass === null) return { ledger: known, loaded };
    const before = pass.tails.get('net') ?? [];
    const start = before.length === 0 ? (pass.window.from ?? 0) : before.at(-1)!.end + 1;
    const end = Math.min(HEAD, (pass.window.to ?? Infinity) - 1);
    if (end >= start) {
      loaded.push(...covered([range(start, end)]));
      known = [...known, range(start, end)].toSorted((a, b) => a.start - b.start);
    }
    if (!pass.more) return { ledger: known, loaded };
  }
  throw new Error('a run without end');
};

describe('a run', () => {
  test('with --from loads exactly what is missing of its span, lowest block first', () => {
    fc.assert(
      fc.property(ledgers, windows, (ledger, asked) => {
        fc.pre(asked.from !== null);
        const had = new Set(covered(ledger));
        const end = Math.min(HEAD + 1, asked.to ?? Infinity);
        const wanted = Array.from({ length: HEAD + 1 }, (_, block) => block).filter(
          (block) => block >= asked.from! && block < end && !had.has(block),
        );
        expect(play(ledger, asked).loaded).toEqual(wanted);
      }),
      propertyOptions(500),
    );
  });

  test('without --from goes on behind the last block that is loaded before --to', () => {
    fc.assert(
      fc.property(ledgers, windows, (ledger, { to }) => {
        const before = ledger.filter(({ start }) => start < (to ?? Infinity));
        const first = (before.at(-1)?.end ?? -1) + 1;
        const end = Math.min(HEAD + 1, to ?? Infinity);
        expect(play(ledger, { from: null, to }).loaded).toEqual(
          Array.from({ length: Math.max(0, end - first) }, (_, index) => first + index),
        );
      }),
      propertyOptions(500),
    );
  });

  test('never loads a block twice, and a second run of the same finds nothing', () => {
    fc.assert(
      fc.property(ledgers, windows, (ledger, asked) => {
        const { ledger: after, loaded } = play(ledger, asked);
        const all = covered(after);
        expect(new Set(all).size).toBe(all.length);
        expect(all).toHaveLength(covered(ledger).length + loaded.length);
        expect(play(after, asked).loaded).toEqual([]);
      }),
      propertyOptions(500),
    );
  });

  test('sees what a reorg may take back: it is clipped to what is loaded before it, not to --from', () => {
    const tails = tailsOf([range(10, 19), range(20, 29)]);
    expect(nextPass(tails, { from: 25, to: null })).toEqual({
      window: { from: 10, to: null },
      tails,
      more: false,
    });
    expect(nextPass(tailsOf([range(0, 9)]), { from: 5, to: null })?.window).toEqual({ from: null, to: null });
  });

  test('reads blocks again whose hash is unknown: nothing else would show that a reorg took them', () => {
    const window = (...tail: BlockRange[]) => nextPass(tailsOf(tail), { from: null, to: null })?.window;
    expect(window(range(10, 19), range(20, 24, ''))).toEqual({ from: 20, to: null });
    expect(window(range(10, 19, ''), range(20, 24))).toEqual({ from: 10, to: null });
    expect(window(range(0, 9999, ''))).toEqual({ from: 10_000 - REORG_BUFFER_BLOCKS, to: null });
  });

  test('refuses a span for several networks', () => {
    const tails = new Map([...tailsOf([range(0, 9)]), ['other', [range(0, 9)]]]);
    expect(nextPass(tails, { from: null, to: null })).toEqual({
      window: { from: null, to: null },
      tails,
      more: false,
    });
    expect(() => nextPass(tails, { from: 5, to: null })).toThrow(/2 networks/);
  });
});

describe('a range that was loaded before', () => {
  const tail = [range(0, 0), range(1, 3), range(4, 9), range(10, 11)];

  test.each([
    [0, 9],
    [0, 3],
    [1, 9],
    [2, 9],
    [4, 11],
  ])('is a replay however it was cut then: %i–%i', (start, end) => {
    expect(classify(tail, range(start, end), 11)).toEqual({ kind: 'replay' });
  });

  test.each([
    ['ends on another fork', range(0, 9, '0xother')],
    ['ends inside a range, where nothing proves it', range(0, 8)],
    ['reaches beyond what is loaded', range(4, 12)],
  ])('is none when it %s', (_, incoming) => {
    expect(classify(tail, incoming, 11).kind).toBe('fork');
  });

  test('is none across a hole', () => {
    expect(classify([range(0, 3), range(6, 9)], range(2, 9), 9).kind).toBe('fork');
  });

  test('too long ago to be known is refused, never taken for a reorg of everything', () => {
    const long = Array.from({ length: LEDGER_HORIZON }, (_, index) => range(1000 + index, 1000 + index));
    expect(classify(long, { ...range(0, 999), prevHash: null }, null)).toMatchObject({
      kind: 'refused',
      refusal: 'horizon',
    });
  });
});
