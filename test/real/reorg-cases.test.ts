/** Consensus test vectors with forks, streamed live into PostgreSQL: each tree ends in exactly its expected balances. */
import { existsSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { playCases } from '../../scripts/reorg-cases.ts';
import { readTrees } from '../../src/devnet/trees.ts';
import type { BlockTree } from '../../src/devnet/trees.ts';
import { verifyBalances } from '../../src/warehouse/verify.ts';
import { useDatabase } from '../database.ts';

const FILE = new URL('../../../shared/data/reorg-cases.json', import.meta.url).pathname;
const isThere = existsSync(FILE);
if (!isThere) console.warn(`LEFT OUT: reorg vectors are not loaded here, ${FILE} is not there`);

const database = useDatabase();

describe.runIf(isThere)('consensus test vectors', () => {
  test(
    'all 97 trees end in the expected balances, each reorg applied live',
    { timeout: 120_000 },
    async () => {
      const wrong: string[] = [];
      const report = await playCases(database.pool, readTrees(FILE), 'vector', (line) => wrong.push(line));
      expect(wrong.slice(0, 3)).toEqual([]);
      expect(report).toMatchObject({ cases: 97, exact: 97 });
      expect(report.reorgs).toBeGreaterThan(97);
      expect(await verifyBalances(database.pool, { oneIn: 1 })).toMatchObject({ differences: 0 });
    },
  );
});

const block = (name: string, parent: string, number: number, legs: BlockTree['blocks'][number]['legs']) => ({
  hash: `0x${name.padStart(64, '0')}`,
  parent: `0x${parent.padStart(64, '0')}`,
  number,
  timestamp: 1_700_000_000 + number,
  legs,
});
const [ANN, BOB] = [`0x${'a'.repeat(40)}`, `0x${'b'.repeat(40)}`];

/** A fork whose branch is shorter than what it replaces, and one back to the genesis. */
const SHORTER: BlockTree = {
  name: 'shorter',
  network: 'made up',
  genesis: { [ANN]: '100' },
  blocks: [
    block('a1', '0', 1, [['transfer', ANN, BOB, '1']]),
    block('a2', 'a1', 2, [['transfer', ANN, BOB, '2']]),
    block('a3', 'a2', 3, [['reward', null, BOB, '4']]),
    block('b1', '0', 1, [['transfer', ANN, BOB, '50']]),
    block('b2', 'b1', 2, [['burn', BOB, null, '8']]),
  ],
  head: block('b2', 'b1', 2, []).hash,
  expected: { [ANN]: '50', [BOB]: '42' },
};

describe('trees made up', () => {
  test('a shorter branch takes the place of a longer one', async () => {
    const report = await playCases(database.pool, [SHORTER], 'shorter', () => undefined);
    expect(report).toEqual({ cases: 1, exact: 1, reorgs: 1 });
  });

  test('a tree that cannot be played is told, and the others are played', async () => {
    const told: string[] = [];
    const broken = {
      ...SHORTER,
      name: 'broken',
      blocks: SHORTER.blocks.map((one) => ({ ...one, hash: 'none' })),
    };
    const report = await playCases(database.pool, [broken, SHORTER], 'broken', (line) => told.push(line));
    expect(report).toMatchObject({ cases: 2, exact: 1 });
    expect(told).toEqual([expect.stringMatching(/^broken: /)]);
  });

  test('balances that are not expected are told, one by one', async () => {
    const wrong: string[] = [];
    const tree = { ...SHORTER, expected: { [ANN]: '51' } };
    const report = await playCases(database.pool, [tree], 'wrong', (line) => wrong.push(line));
    expect(report).toMatchObject({ exact: 0 });
    expect(wrong).toEqual([
      `shorter: ${ANN} has 50, expected is 51`,
      `shorter: ${BOB} has 42, expected is 0`,
    ]);
  });
});
