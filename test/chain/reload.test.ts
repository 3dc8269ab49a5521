/** Forks where no hash tells how deep they are, as right behind a catch-up: all that they may have reached is loaded again. */
import { expect, test } from 'vitest';
import type { BlockRange } from '../../src/chain/range.ts';
import { classify } from '../../src/chain/reorg.ts';

const range = (start: number, end: number, hash = `0xa${end}`): BlockRange => ({
  network: 'net',
  start,
  end,
  hash,
  prevHash: null,
  timestamp: null,
});

const SETTLED = [range(0, 4999, ''), range(5000, 9799, '')];

/** What a range of another fork is that takes the newest block back, and no other, as one from a server that has forgotten it. */
const oneBack = (ledger: readonly BlockRange[]) => {
  const { end } = ledger.at(-1)!;
  return classify(ledger, { ...range(end, end, `0xb${end}`), prevHash: `0xb${end - 1}` }, end);
};

test.each([
  ['the buffer that was handed over', [...SETTLED, range(9700, 9999)], 9700],
  ['at least 200 blocks, where the buffer was smaller', [...SETTLED, range(9800, 9999)], 9799],
])('%s', (_what, ledger, reload) => {
  expect(oneBack(ledger)).toEqual({ kind: 'rewind', to: null, reload });
});

test('behind what came live there are hashes, as far as the hand-over', () => {
  const live = { ...range(10_000, 10_000), prevHash: '0xa9999' };
  expect(oneBack([...SETTLED, range(9800, 9999), live])).toEqual({
    kind: 'rewind',
    to: { network: 'net', number: 9999, hash: '0xa9999' },
    reload: null,
  });
});

test('a server that goes back further than one block knows the fork', () => {
  const ledger = [...SETTLED, range(9800, 9999)];
  expect(classify(ledger, range(9950, 9960, '0xb9960'), 9999)).toEqual({ kind: 'fork' });
});
