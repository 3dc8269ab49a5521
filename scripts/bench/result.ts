/** What a benchmark reports, and how several runs become one figure. */

/** One figure: ours, and the reference measured in the same run. */
export interface BenchResult {
  readonly bench: string;
  readonly case: string;
  readonly value: number;
  readonly unit: string;
  readonly reference: number | null;
  /** value / reference. */
  readonly ratio: number | null;
}

/** The middle of some numbers. */
export const median = (numbers: readonly number[]): number => {
  const sorted = numbers.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
};

/** A result with its ratio. */
export const result = (
  bench: string,
  name: string,
  value: number,
  unit: string,
  reference: number | null,
): BenchResult => ({
  bench,
  case: name,
  value,
  unit,
  reference,
  ratio: reference === null ? null : value / reference,
});
