/** Seeds and run counts of the property tests: random by default, printed on failure, repeatable by environment. */
import { VerbosityLevel } from 'fast-check';
import type { Parameters } from 'fast-check';

const DEFAULT_SEED = (Date.now() ^ (process.pid << 8)) | 0;

const integerFrom = (name: string): number | undefined => {
  const text = process.env[name];
  if (text === undefined || text === '') return undefined;
  const value = Number(text);
  if (Number.isSafeInteger(value)) return value;
  throw new Error(`${name} must be an integer, not "${text}"`);
};

/** The seed of this process: `PGSTRATA_SEED`, or a random one. fast-check prints it with every counterexample. */
export const seed = (): number => integerFrom('PGSTRATA_SEED') ?? DEFAULT_SEED;

/**
 * How many runs a property gets: `PGSTRATA_RANDOM_RUNS` is a number of runs, or a factor such as `10x` for a soak.
 *
 * @example randomRuns(100) // 100; 1000 with PGSTRATA_RANDOM_RUNS=10x
 */
export const randomRuns = (defaultCount: number): number => {
  const text = process.env['PGSTRATA_RANDOM_RUNS'] ?? '';
  const factor = /^(?<factor>\d+(?:\.\d+)?)x$/u.exec(text)?.groups?.['factor'];
  if (factor !== undefined) return Math.max(1, Math.round(defaultCount * Number(factor)));
  return integerFrom('PGSTRATA_RANDOM_RUNS') ?? defaultCount;
};

/**
 * The time limit of a test with so many cases, in milliseconds. None for counts of one's own: how long a soak takes on a
 * machine that does other things too is not what is tested.
 */
export const limitFor = (cases: number, each_ms: number): number =>
  (process.env['PGSTRATA_RANDOM_RUNS'] ?? '') === '' ? 60_000 + cases * each_ms : 0;

/** Says how far a soak is, each five hundred cases, so that one which is stopped has still shown something. */
export const tellPlayed = (what: string, played: number): void => {
  if (played > 0 && played % 500 === 0) console.info(`${what}: ${played} played, PGSTRATA_SEED=${seed()}`);
};

/**
 * The parameters for `fc.assert`.
 *
 * @example fc.assert(fc.property(fc.bigInt(), holds), propertyOptions(200))
 */
export const propertyOptions = <T>(defaultCount: number): Parameters<T> => ({
  seed: seed(),
  numRuns: randomRuns(defaultCount),
  verbose: VerbosityLevel.Verbose,
});
