/** Forks where no hash tells how deep they are, as right behind a catch-up: all that they may have reached is loaded again. */
import { describe, expect, test } from 'vitest';
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
const oneBack = (
  ledger: readonly BlockRange[],
  { position = ledger.at(-1)!.end, buffer = 200 }: { position?: number; buffer?: number } = {},
) =>
  classify(
    ledger,
    { ...range(position, position, `0xb${position}`), prevHash: `0xb${position - 1}` },
    position,
    buffer,
  );

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

describe('the block before the buffer, whose hash is known', () => {
  const ledger = [range(0, 4999, ''), range(5000, 9799), { ...range(9800, 9999), prevHash: '0xa9799' }];

  test('is asked for first', () => {
    const to = { network: 'net', number: 9799, hash: '0xa9799' };
    expect(oneBack(ledger)).toEqual({ kind: 'rewind', to, reload: null });
  });

  test('is gone, too: how deep the fork is nobody can say, so it is refused', () => {
    expect(oneBack(ledger, { position: 9799 })).toMatchObject({ kind: 'refused', refusal: 'horizon' });
  });

  test('is gone, but not as far back as forks may reach: all of that is loaded again', () => {
    expect(oneBack(ledger, { position: 9799, buffer: 201 })).toEqual({
      kind: 'rewind',
      to: null,
      reload: 5000,
    });
  });
});

test('a server that goes back further than one block knows the fork', () => {
  const ledger = [...SETTLED, range(9800, 9999)];
  expect(classify(ledger, range(9950, 9960, '0xb9960'), 9999)).toEqual({ kind: 'fork' });
});
