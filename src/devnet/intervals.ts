/** Sets of block numbers as sorted, disjoint, inclusive intervals: what a WHERE on block numbers comes down to. */

/** Blocks `from`..`to`, both inclusive; `to` may be Infinity. */
interface Interval {
  readonly from: number;
  readonly to: number;
}

export type Intervals = readonly Interval[];

/** All blocks, and none. */
export const ALL: Intervals = [{ from: 0, to: Infinity }];
const NONE: Intervals = [];

/** The interval, or nothing when it is empty. */
export const between = (from: number, to: number): Intervals =>
  from <= to ? [{ from: Math.max(0, from), to }] : NONE;

/** Blocks in both. */
export const intersect = (left: Intervals, right: Intervals): Intervals =>
  left.flatMap((one) =>
    right.flatMap((other) => between(Math.max(one.from, other.from), Math.min(one.to, other.to))),
  );

/** Blocks in either. */
export const unite = (left: Intervals, right: Intervals): Intervals => {
  const merged: Interval[] = [];
  for (const next of [...left, ...right].sort((one, other) => one.from - other.from)) {
    const last = merged.at(-1);
    if (last === undefined || next.from > last.to + 1) merged.push(next);
    else merged[merged.length - 1] = { from: last.from, to: Math.max(last.to, next.to) };
  }
  return merged;
};

/** Blocks not in it. */
export const complement = (set: Intervals): Intervals => {
  const gaps: Interval[] = [];
  let from = 0;
  for (const interval of set) {
    if (interval.from > from) gaps.push({ from, to: interval.from - 1 });
    from = interval.to + 1;
  }
  return from === Infinity ? gaps : [...gaps, { from, to: Infinity }];
};
