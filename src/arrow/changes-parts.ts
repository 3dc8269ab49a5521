/** Balance changes by the week they are of: a week that stands beside the set takes them as they came, without a sort by key. */
import { weekOf } from '../runtime/instant.ts';
import type { ChangeColumns } from './changes-order.ts';

/** The changes of a buffer, as positions in it. */
export interface ChangeParts {
  /** By week; leaf by leaf, and in order of arrival within a leaf. */
  readonly apart: ReadonlyMap<number, Uint32Array>;
  /** Those of all other weeks, sorted as `frames` sorts them. */
  readonly others: Uint32Array;
}

/** Places of one week's changes, by leaf: first their numbers, then where the next one goes. */
type Places = Uint32Array;

/** Leaves that are kept together; of more than that, some share a place. */
const LEAVES = 256;

/** Sorts the first `count` changes by week and leaf, stable; those of no week of `weeks` are left in order of arrival. */
export const partsOf = (columns: ChangeColumns, count: number, weeks: ReadonlySet<number>): ChangeParts => {
  const { times, keyHigh } = columns;
  const places = new Map<number, Places>();
  let rest = 0;
  let [lastWeek, last]: [number, Places | null] = [Number.NaN, null];
  const placesOf = (change: number): Places | null => {
    const week = weekOf(times[change]!);
    if (week === lastWeek) return last;
    lastWeek = week;
    last = weeks.has(week) ? (places.get(week) ?? new Uint32Array(LEAVES)) : null;
    if (last !== null) places.set(week, last);
    return last;
  };
  const leafOf = (change: number): number => (keyHigh[change]! >>> 16) % LEAVES;
  for (let change = 0; change < count; change++) {
    const of = placesOf(change);
    if (of === null) rest++;
    else of[leafOf(change)]!++;
  }
  const apart = new Map<number, Uint32Array>();
  for (const [week, of] of places) {
    let next = 0;
    for (let leaf = 0; leaf < LEAVES; leaf++) {
      const size = of[leaf]!;
      of[leaf] = next;
      next += size;
    }
    apart.set(week, new Uint32Array(next));
  }
  const others = new Uint32Array(rest);
  rest = 0;
  let [orderWeek, order]: [number, Uint32Array | undefined] = [Number.NaN, undefined];
  for (let change = 0; change < count; change++) {
    const of = placesOf(change);
    if (of === null) {
      others[rest++] = change;
      continue;
    }
    if (lastWeek !== orderWeek) [orderWeek, order] = [lastWeek, apart.get(lastWeek)];
    order![of[leafOf(change)]!++] = change;
  }
  return { apart, others };
};
