/** When one machine is enough, how many would be, whether shards should move: judged from figures alone. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { adviseCluster, type ClusterFacts } from '../../src/warehouse/scaling/cluster.ts';
import { adviseTopology, judgeSkew, type Limit, type Machine } from '../../src/warehouse/scaling/judge.ts';
import { propertyOptions } from '../seed.ts';
import { NOW, setOf, warehouseOf } from './facts.ts';

const GB = 1e9;
const MACHINE: Machine = { cores: 16, memory_bytes: 64 * GB, disk_bytes: 1000 * GB };
const UNKNOWN: Machine = { cores: null, memory_bytes: null, disk_bytes: null };
const OUTLOOK = { now: NOW, weeks: 52, times: 1 };

const limitOf = (limits: readonly Limit[], name: Limit['limit']): Limit =>
  limits.find(({ limit }) => limit === name)!;

describe('one machine', () => {
  test('is enough for little, and nothing is said of one that is not known', () => {
    const facts = warehouseOf([setOf('balance_changes', { bytes: GB, rows: 5e6 })]);
    expect(adviseTopology(facts, MACHINE, OUTLOOK)).toMatchObject({
      verdict: 'one machine',
      workers: 2,
      shards: 32,
      growth: { bytes_per_week: GB, rows_per_week: 5e6 },
    });
    const blind = adviseTopology(facts, UNKNOWN, OUTLOOK);
    expect(blind).toMatchObject({ verdict: 'unknown', says: expect.stringContaining('--memory') as string });
    expect(limitOf(blind.limits, 'disk').share).toBeNull();
  });

  test('is not, when the disk fills: 9 weeks and 52 more of 20 GB, and one beside them', () => {
    const advice = adviseTopology(
      warehouseOf([setOf('balance_changes', { bytes: 20 * GB, rows: 1e8 })]),
      MACHINE,
      OUTLOOK,
    );
    expect(limitOf(advice.limits, 'disk').wanted).toBe((9 + 52 + 1) * 20 * GB);
    expect(advice).toMatchObject({
      verdict: 'several machines',
      workers: 2,
      says: expect.stringContaining('disk will be 155 %') as string,
    });
  });

  test('stays enough where retention takes what comes, however far one looks', () => {
    const facts = warehouseOf([setOf('balance_changes', { bytes: 20 * GB, rows: 1e8, retain: 13 })]);
    const wanted = [13, 52, 520].map(
      (weeks) => limitOf(adviseTopology(facts, MACHINE, { ...OUTLOOK, weeks }).limits, 'disk').wanted,
    );
    expect(wanted).toEqual([14, 14, 14].map((weeks) => weeks * 20 * GB));
    expect(adviseTopology(facts, MACHINE, OUTLOOK).verdict).toBe('one machine');
  });

  test('is not, when the keys of a week outgrow memory, or rows outgrow one writer', () => {
    const keys = adviseTopology(
      warehouseOf([setOf('balance_changes', { bytes: 200 * GB, retain: 1 })]),
      { ...MACHINE, disk_bytes: 100_000 * GB },
      OUTLOOK,
    );
    expect(keys).toMatchObject({
      verdict: 'several machines',
      workers: 3,
      says: expect.stringContaining('memory') as string,
    });
    const rows = adviseTopology(
      warehouseOf([setOf('snapshot_rows', { bytes: GB, rows: 2e10 })]),
      MACHINE,
      OUTLOOK,
    );
    expect(rows.says).toContain('writer');
    expect(limitOf(rows.limits, 'writer').wanted).toBe(Math.round((4 * 2e10) / 604_800));
  });

  test('locks are no reason for more machines', () => {
    const facts = warehouseOf([setOf('balance_changes', { bytes: GB, leaves: 64 })], { lock_capacity: 6400 });
    const { verdict, limits } = adviseTopology(facts, MACHINE, OUTLOOK);
    expect(limitOf(limits, 'locks').share).toBeGreaterThan(1);
    expect(verdict).toBe('one machine');
  });

  test('more rows never ask for less, and the advised workers hold what is wanted', () => {
    const order = ['one machine', 'soon several', 'several machines'];
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 500 }),
        fc.double({ min: 1, max: 100, noNaN: true }),
        fc.option(fc.integer({ min: 1, max: 200 })),
        (gigabytes, times, retain) => {
          const facts = warehouseOf([
            setOf('balance_changes', { bytes: gigabytes * GB, rows: gigabytes * 1e6, retain }),
          ]);
          const [now, then] = [1, times].map((times) =>
            adviseTopology(facts, MACHINE, { ...OUTLOOK, times }),
          );
          expect(order.indexOf(then!.verdict)).toBeGreaterThanOrEqual(order.indexOf(now!.verdict));
          expect(then!.workers).toBeGreaterThanOrEqual(now!.workers);
          for (const { limit, wanted, usable } of then!.limits)
            if (limit !== 'locks') expect(wanted / then!.workers).toBeLessThanOrEqual(usable! * 1.000001);
          expect(then!.shards).toBeGreaterThanOrEqual(Math.min(1024, then!.workers));
          if (then!.workers > 1024) expect(then!.says).toContain('several clusters');
        },
      ),
      propertyOptions(50),
    );
  });
});

describe('skew', () => {
  test('an account is hot when its shard, with its part of all others, is over twice the mean', () => {
    const of = (rows: number) =>
      judgeSkew({ week: 'w', sampled: 10_000, accounts: 500, top: [{ account: '0xaa', rows }] }, 32);
    // By hand: 1,000 of 10,000 and 9,000/32 of the others are 1,281; the mean shard has 312.5.
    expect(of(1000)).toMatchObject({
      hot: true,
      fullest: 1281.25 / 312.5,
      says: expect.stringMatching(/^0xaa makes 10\.0 %/) as string,
    });
    expect(of(10)).toMatchObject({ hot: false, says: expect.stringContaining('fill evenly') as string });
  });
});

describe('a cluster', () => {
  const clusterOf = (
    parts: Readonly<Record<string, readonly number[]>>,
    keyless = 0,
    away: readonly string[] = [],
  ): ClusterFacts => {
    const shards = Object.entries(parts).flatMap(([node, sizes]) =>
      sizes.map((gigabytes, index) => ({ node, from_hash: index, bytes: gigabytes * GB, tables: 9 })),
    );
    return {
      citus: '13.2-1',
      keyless,
      shards,
      nodes: Object.entries(parts).map(([node, sizes]) => ({
        node,
        active: !away.includes(node),
        takes_shards: true,
        shards: sizes.length,
        bytes: sizes.reduce((a, b) => a + b, 0) * GB,
      })),
    };
  };
  const states = (facts: ClusterFacts): string[] =>
    adviseCluster(facts).findings.map(({ check, state }) => `${check} ${state}`);

  test('that is even is left alone', () => {
    const even = clusterOf({ a: [2, 2, 2], b: [2, 2.1, 2] });
    expect(states(even)).toEqual(['nodes ok', 'shards ok', 'balance ok', 'hot shards ok']);
    expect(adviseCluster(even).statements).toEqual([]);
  });

  test('with an empty node, or one much fuller than the others, is rebalanced', () => {
    for (const uneven of [
      clusterOf({ a: [2, 2, 2], b: [2, 2, 2], c: [] }),
      clusterOf({ a: [2, 2, 2, 2, 2], b: [2] }),
    ]) {
      expect(states(uneven)).toContain('balance warning');
      expect(adviseCluster(uneven).statements[1]).toContain("shard_transfer_mode => 'auto'");
    }
  });

  test('with tables that replication cannot take along moves shards while writers wait, and says so', () => {
    const { findings, statements } = adviseCluster(clusterOf({ a: [2, 2, 2], b: [] }, 6));
    expect(statements[1]).toContain("'block_writes'");
    expect(findings.find(({ check }) => check === 'balance')?.remedy).toContain('6 tables');
  });

  test('is small, has one huge shard on a node, or misses a node: none of that is mended by moving', () => {
    expect(adviseCluster(clusterOf({ a: [0.1, 0.1], b: [] })).statements).toEqual([]);
    const hot = clusterOf({ a: [20], b: [1, 1, 1, 1] });
    expect(states(hot)).toEqual(['nodes ok', 'shards ok', 'balance ok', 'hot shards warning']);
    expect(adviseCluster(hot).statements).toEqual([]);
    expect(states(clusterOf({ a: [2, 2], b: [2, 2] }, 0, ['b']))[0]).toBe('nodes fault');
    expect(states(clusterOf({ a: [2], b: [], c: [] }))[1]).toBe('shards warning');
  });
});
