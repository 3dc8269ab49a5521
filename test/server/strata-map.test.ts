/** The strata map from facts alone: every state, gaps and runway. */
import { describe, expect, test } from 'vitest';
import type { Atlas, AtlasWeek } from '../../src/warehouse/page/atlas.ts';
import { drawMap, type SetMap, type Sizes } from '../../src/warehouse/page/strata-map.ts';

const WEEK_MS = 7 * 86_400_000;
/** A Sunday. */
const weekAt = (index: number): Date => new Date(Date.parse('2026-01-04T00:00:00Z') + index * WEEK_MS);

const weekOf = (index: number, change: Partial<AtlasWeek> = {}): AtlasWeek => ({
  set: 's',
  name: `s_${index}`,
  lower: weekAt(index),
  upper: weekAt(index + 1),
  relkind: 'p',
  leaves: [0, 1].map((leaf) => ({ oid: index * 10 + leaf, name: `s_${index}_hash_${leaf}`, rows: 5 })),
  ...change,
});

const atlasOf = (weeks: readonly AtlasWeek[], change: Partial<Atlas> = {}): Atlas => ({
  now: new Date(weekAt(4).getTime() + 1000),
  sets: [{ set: 's', root: 's', cut: 'hash of a', modulus: 2, premake: 1, retained_from: null }],
  weeks,
  apart: [],
  work: [],
  held: [],
  proofs: [],
  frontiers: [],
  ...change,
});

const mapOf = (atlas: Atlas, sizes: Sizes = new Map()): SetMap => {
  const [map] = drawMap(atlas, sizes);
  if (map === undefined) throw new Error('a set is missing');
  return map;
};

const statesOf = (atlas: Atlas): string[] =>
  mapOf(atlas).strata.map(({ state, weeks }) => (weeks === 1 ? state : `${state} × ${weeks}`));

const held = { set: 's', name: 'old', bytes: 7, rows: 3, drop_after: weekAt(9) } as const;

describe('the strata map', () => {
  test('tells hot from closed, ahead and consolidated, in both forms of consolidated', () => {
    const table = weekOf(1, { relkind: 'r', leaves: [{ oid: 10, name: 's_1', rows: 5 }] });
    const wrapped = weekOf(2, { leaves: [{ oid: 20, name: 's_2_consolidated', rows: 5 }] });
    expect(statesOf(atlasOf([weekOf(0), table, wrapped, weekOf(3), weekOf(4), weekOf(5)]))).toEqual([
      'closed',
      'consolidated',
      'consolidated',
      'closed',
      'hot',
      'ahead',
    ]);
  });

  test('calls a week hot that is loaded now, however old it is', () => {
    const atlas = atlasOf([weekOf(0), weekOf(1), weekOf(2), weekOf(3), weekOf(4), weekOf(5)], {
      frontiers: [new Date(weekAt(1).getTime() + 5000)],
    });
    expect(statesOf(atlas)).toEqual(['closed', 'hot', 'closed', 'closed', 'hot', 'ahead']);
  });

  test('shows a consolidation under way with its step, and what can be put back when it is over', () => {
    const work = { set: 's', lower: weekAt(0), step: 'copying', error: null, started_at: weekAt(4) };
    const aside = {
      ...held,
      lower: weekAt(1),
      upper: weekAt(2),
      reason: 'consolidated',
      state: 'held',
    } as const;
    const table = weekOf(1, { relkind: 'r', leaves: [{ oid: 10, name: 's_1', rows: 5 }] });
    const { strata, held_bytes } = mapOf(atlasOf([weekOf(0), table], { work: [work], held: [aside] }));
    expect(strata[0]).toMatchObject({ state: 'consolidating', step: 'copying' });
    expect(strata[1]).toMatchObject({ state: 'consolidated', held_until: weekAt(9).toISOString() });
    expect(held_bytes).toBe(7);
  });

  test('shows what retention took out, which is no gap', () => {
    const out = { ...held, reason: 'retained' } as const;
    const atlas = atlasOf([weekOf(3), weekOf(4), weekOf(5)], {
      sets: [{ set: 's', root: 's', cut: '', modulus: 2, premake: 1, retained_from: weekAt(3) }],
      held: [
        { ...out, lower: weekAt(0), upper: weekAt(1), state: 'dropped' },
        { ...out, lower: weekAt(2), upper: weekAt(3), state: 'held' },
      ],
    });
    expect(statesOf(atlas)).toEqual(['dropped', 'held', 'closed', 'hot', 'ahead']);
  });

  test('marks missing weeks one by one, many as one, and those that should be ahead', () => {
    expect(statesOf(atlasOf([weekOf(0), weekOf(3)]))).toEqual([
      'closed',
      'gap',
      'gap',
      'closed',
      'gap',
      'gap',
    ]);
    expect(statesOf(atlasOf([weekOf(-6), weekOf(4), weekOf(5)]))).toEqual([
      'closed',
      'gap × 9',
      'hot',
      'ahead',
    ]);
    expect(mapOf(atlasOf([weekOf(-6), weekOf(4), weekOf(5)])).counts).toMatchObject({ gap: 9, hot: 1 });
    expect(statesOf(atlasOf([]))).toEqual([]);
  });

  test('tells weeks that no row has come to from weeks that were passed by', () => {
    const empty = (index: number): AtlasWeek =>
      weekOf(index, { leaves: [{ oid: index, name: `s_${index}_hash_0`, rows: -1 }] });
    const behind = [weekOf(-9), weekOf(-7), empty(4), empty(5)];
    expect(statesOf(atlasOf(behind))).toEqual(['closed', 'gap', 'closed', 'unreached × 10', 'hot', 'ahead']);
    expect(mapOf(atlasOf(behind)).counts).toMatchObject({ gap: 1, unreached: 10 });
    // A stream has come further than the last ANALYZE knows.
    expect(statesOf(atlasOf(behind, { frontiers: [weekAt(4)] }))).toContain('gap × 10');
    // What is due now is missing, whatever has come.
    expect(statesOf(atlasOf([weekOf(1)]))).toEqual(['closed', 'unreached', 'unreached', 'gap', 'gap']);
  });

  test('shows history that is loaded beside the set, which is no gap', () => {
    const apart = {
      set: 's',
      name: 's_2',
      lower: weekAt(2),
      upper: weekAt(3),
      error: null,
      leaves: [20, 21],
    };
    const atlas = atlasOf([weekOf(1), weekOf(4), weekOf(5)], { apart: [{ ...apart, step: 'folding' }] });
    const map = mapOf(
      atlas,
      new Map([
        [20, { bytes: 100 }],
        [21, { bytes: 50 }],
      ]),
    );
    expect(map.strata.map(({ state }) => state)).toEqual(['closed', 'loading', 'gap', 'hot', 'ahead']);
    expect(map.strata[1]).toMatchObject({ step: 'folding', bytes: 150, leaves: [100, 50] });
    expect(map.counts).toMatchObject({ loading: 1, gap: 1 });
  });

  test('counts the runway from the present week on', () => {
    expect(mapOf(atlasOf([weekOf(4), weekOf(5), weekOf(6), weekOf(8)])).runway_weeks).toBe(2);
    expect(mapOf(atlasOf([weekOf(3), weekOf(5)])).runway_weeks).toBe(-1);
  });

  test('leaves alone what is not one whole week', () => {
    const standIn = weekOf(9, { name: 'rest', lower: null, upper: null });
    const half = weekOf(0, { upper: new Date(weekAt(0).getTime() + 1000) });
    const foreign = weekOf(2, { relkind: 'f' });
    expect(
      mapOf(atlasOf([half, foreign, standIn, weekOf(4), weekOf(5)])).strata.map(({ name, state }) => [
        name,
        state,
      ]),
    ).toEqual([
      ['s_0', 'other'],
      ['s_2', 'other'],
      ['s_4', 'hot'],
      ['s_5', 'ahead'],
      ['rest', 'other'],
    ]);
  });

  test('says no size where one of its tables was not measured', () => {
    const sizes = new Map([
      [40, { bytes: 100 }],
      [41, { bytes: 50 }],
      [50, { bytes: 10 }],
    ]);
    const map = mapOf(atlasOf([weekOf(4), weekOf(5)]), sizes);
    expect(map.strata.map(({ bytes, leaves }) => [bytes, leaves])).toEqual([
      [150, [100, 50]],
      [null, [10, null]],
    ]);
    expect(map.bytes).toBeNull();
  });

  test('counts the rows of a week in shards where they are', () => {
    const sharded = weekOf(4, { relkind: 's', leaves: [{ oid: 40, name: 's_4', rows: -1 }] });
    const of = (rows: number | null): unknown =>
      mapOf(atlasOf([sharded]), new Map([[40, { bytes: 8, rows }]])).strata[0];
    expect(of(7)).toMatchObject({ state: 'hot', bytes: 8, rows: 7 });
    expect(of(null)).toMatchObject({ bytes: 8, rows: null });
  });
});
