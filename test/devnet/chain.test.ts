/** The simulated chain: the same seed gives the same bytes, hashes link, balances add up, reorgs branch off. */
import { createHash } from 'node:crypto';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ZERO_HASH } from '../../src/chain/metadata.ts';
import { createChain } from '../../src/devnet/chain.ts';
import type { ChainOptions } from '../../src/devnet/chain.ts';
import { balancesAfter, transfersIn } from '../../src/devnet/ledger.ts';
import { createRandom, createZipf, seedWords } from '../../src/devnet/random.ts';
import type { Chain } from '../../src/devnet/source.ts';

const SMALL: ChainOptions = {
  seed: 3,
  accounts: 30,
  tokens: 4,
  transfersPerBlock: 15,
  logsPerBlock: 3,
  blocks: 40,
};

const digest = (chain: Chain, table: string, from: number, to: number): string => {
  const hash = createHash('sha256');
  for (const child of chain.view().batch(table, from, to).data.children) {
    for (const buffer of [child.valueOffsets, child.values, child.nullBitmap]) {
      if (buffer instanceof Object && ArrayBuffer.isView(buffer))
        hash.update(new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.byteLength));
    }
  }
  return hash.digest('hex');
};

const hex = (value: unknown): string => `0x${Buffer.from(value as Uint8Array).toString('hex')}`;

const hashes = (chain: Chain): readonly string[] => {
  const view = chain.view();
  return Array.from({ length: (view.head ?? -1) + 1 }, (_, block) => view.hashOf(block));
};

describe('determinism', () => {
  test('the same options make the same chain, byte for byte, in every process', () => {
    expect(digest(createChain(SMALL), 'transfers', 0, 39)).toBe(
      digest(createChain(SMALL), 'transfers', 0, 39),
    );
    expect(hashes(createChain(SMALL))).toEqual(hashes(createChain(SMALL)));
    // Golden: a change here changes what every seed in every bug report means.
    expect(digest(createChain(SMALL), 'transfers', 0, 39).slice(0, 16)).toBe('351eab5219c61071');
    expect(digest(createChain(SMALL), 'logs', 0, 39).slice(0, 16)).toBe('d7a1bd1900443c92');
    expect(hashes(createChain(SMALL))[39]?.slice(0, 18)).toBe('0x207822e90c1cb153');
  });

  test('another seed or network makes another chain', () => {
    const chains = [SMALL, { ...SMALL, seed: 4 }, { ...SMALL, network: 'other' }].map(createChain);
    expect(new Set(chains.map((chain) => digest(chain, 'transfers', 0, 39))).size).toBe(3);
    expect(new Set(chains.map((chain) => hashes(chain)[39])).size).toBe(3);
  });

  test('a block is the same whether made alone or among others, and however the head moved', () => {
    const grown = createChain({ ...SMALL, blocks: 0 });
    fc.assert(
      fc.property(fc.nat({ max: 3 }), (blocks) => grown.advance(blocks)),
      { numRuns: 30 },
    );
    grown.advance(40);
    const chain = createChain(SMALL);
    for (const block of [0, 1, 17, 39]) {
      expect(digest(grown, 'transfers', block, block)).toBe(digest(chain, 'transfers', block, block));
      expect(transfersIn(chain, 0, 39).filter((transfer) => transfer.block === block)).toEqual(
        transfersIn(chain, block, block),
      );
    }
  });
});

describe('what is in it', () => {
  test('hashes link each block to its parent, from zero', () => {
    const view = createChain(SMALL).view();
    expect(view.parentHashOf(0)).toBe(ZERO_HASH);
    for (let block = 1; block < 40; block += 1) expect(view.parentHashOf(block)).toBe(view.hashOf(block - 1));
    const rows = view.batch('blocks', 0, 39).toArray();
    expect(rows.map((row) => hex(row['hash']))).toEqual(rows.map((_, block) => view.hashOf(block)));
    expect(rows.map((row) => hex(row['parent_hash']))).toEqual(
      rows.map((_, block) => view.parentHashOf(block)),
    );
  });

  test('mints, burns, self-transfers, zero amounts and amounts near 2^255 all occur', () => {
    const transfers = transfersIn(createChain({ ...SMALL, transfersPerBlock: 100 }), 1, 39);
    const zero = `0x${'0'.repeat(40)}`;
    const kinds = {
      mints: transfers.filter(({ from }) => from === zero).length,
      burns: transfers.filter(({ to }) => to === zero).length,
      selves: transfers.filter(({ from, to }) => from === to).length,
      nothings: transfers.filter(({ value }) => value === 0n).length,
      whales: transfers.filter(({ value }) => value > 2n ** 254n).length,
      beyond64: transfers.filter(({ value }) => value > 2n ** 64n && value < 2n ** 128n).length,
    };
    for (const [kind, count] of Object.entries(kinds)) expect(count, kind).toBeGreaterThan(5);
    for (const { value } of transfers) expect(value < 2n ** 256n).toBe(true);
    expect(kinds.mints).toBeLessThan(transfers.length / 20);
  });

  test('balances add up to zero for every token, and few accounts are overdrawn', () => {
    const balances = balancesAfter(
      transfersIn(createChain({ ...SMALL, accounts: 500, blocks: 200 }), 0, 199),
    );
    const sums = new Map<string, bigint>();
    let [negative, zeroAccount] = [0, 0];
    for (const [key, balance] of balances) {
      const [account = '', token = ''] = key.split(' ');
      sums.set(token, (sums.get(token) ?? 0n) + balance);
      if (balance < 0n) {
        negative += 1;
        if (/^0x0+$/.test(account)) zeroAccount += 1;
      }
    }
    expect([...sums.values()]).toEqual([0n, 0n, 0n, 0n]);
    expect((negative - zeroAccount) / balances.size).toBeLessThan(0.1);
  });

  test('a few accounts do most of the moving', () => {
    const random = createRandom(seedWords('zipf'));
    const pick = createZipf(1000, random.next);
    const counts = Array.from({ length: 1000 }, () => 0);
    for (let draw = 0; draw < 100_000; draw += 1) {
      const index = pick();
      counts[index] = (counts[index] ?? 0) + 1;
    }
    // Weight 1/(k+1) over H(1000) = 7.485.
    for (const index of [0, 1, 9, 99]) {
      const expected = 100_000 / 7.485 / (index + 1);
      expect(Math.abs((counts[index] ?? 0) - expected)).toBeLessThan(5 * Math.sqrt(expected) + 1);
    }
  });
});

describe('reorgs', () => {
  test('keep what is below, change what is above, and remember the way back', () => {
    const chain = createChain(SMALL);
    const before = hashes(chain);
    const old = digest(chain, 'transfers', 30, 39);
    chain.reorg(10, 12);
    const after = hashes(chain);
    expect(after).toHaveLength(42);
    expect(after.slice(0, 30)).toEqual(before.slice(0, 30));
    for (let block = 30; block < 40; block += 1) expect(after[block]).not.toBe(before[block]);
    expect(digest(chain, 'transfers', 30, 39)).not.toBe(old);
    expect(digest(chain, 'transfers', 0, 29)).toBe(digest(createChain(SMALL), 'transfers', 0, 29));
    for (let block = 30; block < 40; block += 1) expect(chain.commonAncestor(before[block] ?? '')).toBe(29);
    expect(chain.commonAncestor(ZERO_HASH)).toBeNull();
  });

  test('a reorg of a reorg leads back to the last common block', () => {
    const chain = createChain(SMALL);
    const first = hashes(chain)[39] ?? '';
    chain.reorg(5, 6);
    const second = hashes(chain)[40] ?? '';
    chain.reorg(20, 3);
    expect(chain.view().head).toBe(23);
    expect(chain.commonAncestor(first)).toBe(20);
    expect(chain.commonAncestor(second)).toBe(20);
    chain.reorg(24, 1);
    expect(chain.commonAncestor(first)).toBe(-1);
  });

  test('a view taken before a reorg goes on showing what it showed', () => {
    const chain = createChain(SMALL);
    const view = chain.view();
    const [hash, batch] = [view.hashOf(39), view.batch('transfers', 39, 39).get(0)?.toJSON()];
    chain.reorg(10, 20);
    chain.advance(3000);
    expect(view.head).toBe(39);
    expect(view.hashOf(39)).toBe(hash);
    expect(view.batch('transfers', 39, 39).get(0)?.toJSON()).toEqual(batch);
  });

  test('cannot drop more than there is', () => {
    for (const depth of [0, 41, 1.5, -1])
      expect(() => createChain(SMALL).reorg(depth, 1)).toThrow(/cannot drop/);
  });

  test('wake the followers', () => {
    const chain = createChain(SMALL);
    let woken = 0;
    const leave = chain.subscribe(() => (woken += 1));
    chain.advance(1);
    chain.reorg(1, 2);
    leave();
    chain.advance(1);
    expect(woken).toBe(2);
  });
});
