/** Cutting holes into partitions: every block once, lowest first, never across what is loaded, sized by the rows seen so far. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  lengthOf,
  noteRows,
  planPartitions,
  rowsToSplitAt,
  splitPartition,
  takePartition,
  type BlockSpan,
  type PartitionPlan,
  type PartitionRule,
} from '../../src/chain/partitions.ts';
import { propertyOptions } from '../seed.ts';

const rules: fc.Arbitrary<PartitionRule> = fc.oneof(
  fc.record({ kind: fc.constant('partitions' as const), partitions: fc.integer({ min: 1, max: 50 }) }),
  fc.record({ kind: fc.constant('blocks' as const), blocks: fc.integer({ min: 1, max: 5000 }) }),
  fc.record({ kind: fc.constant('rows' as const), rows: fc.integer({ min: 1, max: 100_000 }) }),
);

/** Holes with loaded blocks between them, some of one block. */
const holes = fc
  .array(fc.tuple(fc.integer({ min: 1, max: 500 }), fc.integer({ min: 1, max: 3000 })), { maxLength: 12 })
  .map((pieces) => {
    let block = 0;
    return pieces.map(([loaded, missing]): BlockSpan => {
      const from = block + loaded;
      block = from + missing;
      return { from, to: block };
    });
  });

/** Loads a plan block by block of `density`; gives up and splits where the plan says so. */
const loadAll = (start: PartitionPlan, workers: number, density: (block: number) => number): BlockSpan[] => {
  const loaded: BlockSpan[] = [];
  let plan = start;
  for (let taken = takePartition(plan, workers); taken !== null; taken = takePartition(plan, workers)) {
    const { partition } = taken;
    ({ plan } = taken);
    const limit = rowsToSplitAt(plan, partition);
    let rows = 0;
    for (let block = partition.from; block < partition.to && rows <= (limit ?? Infinity); block++)
      rows += density(block);
    if (limit !== null && rows > limit) {
      plan = splitPartition(plan, partition, rows);
      continue;
    }
    plan = noteRows(plan, partition, rows);
    loaded.push(partition);
  }
  return loaded;
};

const blocksIn = (spans: readonly BlockSpan[]): number[] =>
  spans.flatMap(({ from, to }) => Array.from({ length: to - from }, (_, index) => from + index));

test('every missing block is in one partition, and none crosses what is loaded', () => {
  fc.assert(
    fc.property(
      holes,
      rules,
      fc.integer({ min: 1, max: 16 }),
      fc.array(fc.nat({ max: 5000 }), { minLength: 1 }),
      (missing, rule, workers, densities) => {
        const loaded = loadAll(
          planPartitions(missing, rule),
          workers,
          (block) => densities[Math.floor(block / 100) % densities.length]!,
        );
        expect(blocksIn(loaded).toSorted((a, b) => a - b)).toEqual(blocksIn(missing));
        for (const span of loaded)
          expect(missing.some((hole) => hole.from <= span.from && span.to <= hole.to)).toBe(true);
      },
    ),
    propertyOptions(60),
  );
});

describe('sizes', () => {
  const span = [{ from: 0, to: 1_000_000 }];

  test('lowest hole first, in the order of blocks whatever order they are given in', () => {
    const plan = planPartitions(
      [
        { from: 50, to: 51 },
        { from: 7, to: 9 },
        { from: 20, to: 20 },
      ],
      { kind: 'blocks', blocks: 10 },
    );
    expect(loadAll(plan, 1, () => 0)).toEqual([
      { from: 7, to: 9 },
      { from: 50, to: 51 },
    ]);
  });

  test.each([1, 7, 100])('%i partitions', (partitions) => {
    expect(loadAll(planPartitions(span, { kind: 'partitions', partitions }), 4, () => 0)).toHaveLength(
      partitions,
    );
  });

  test('by rows: dense and sparse stretches come in partitions of about as many', () => {
    const density = (block: number): number =>
      block >= 400_000 && block < 420_000 ? 300 : block < 300_000 ? 0 : 2;
    const loaded = loadAll(planPartitions(span, { kind: 'rows', rows: 100_000 }), 2, density);
    const rows = loaded.map((part) => blocksIn([part]).reduce((sum, block) => sum + density(block), 0));
    expect(Math.max(...rows)).toBeLessThanOrEqual(8 * 100_000);
    // Behind a change it takes a few partitions to be near: most of them are.
    const dense = loaded.filter(({ from }) => from >= 400_000 && from < 420_000);
    const near = rows.filter(
      (count, index) => dense.includes(loaded[index]!) && count >= 50_000 && count <= 200_000,
    );
    expect(near.length).toBeGreaterThan(dense.length * 0.7);
    // 300,000 empty blocks take few queries.
    expect(loaded.filter(({ to }) => to <= 300_000).length).toBeLessThan(20);
  });

  test('by rows: what is left is shared out near the end', () => {
    const plan = { ...planPartitions([{ from: 0, to: 800 }], { kind: 'rows', rows: 1_000_000 }) };
    expect(takePartition(plan, 8)?.partition).toEqual({ from: 0, to: 100 });
  });

  test('a partition that turns out too large is cut until it fits, or is one block', () => {
    let plan = planPartitions([{ from: 0, to: 1000 }], { kind: 'rows', rows: 1000 });
    const sizes: number[] = [];
    for (let taken = takePartition(plan, 1); taken !== null; taken = takePartition(plan, 1)) {
      const { partition } = taken;
      ({ plan } = taken);
      const limit = rowsToSplitAt(plan, partition);
      sizes.push(lengthOf(partition));
      if (limit === null) break;
      // Others that are empty meanwhile must not make it large again.
      for (let other = 0; other < 4; other++) plan = noteRows(plan, { from: 5000, to: 9000 }, 0);
      plan = splitPartition(plan, partition, limit + 1);
    }
    expect(sizes).toEqual([1000, 124, 15, 1]);
  });
});
