/**
 * Seeded histories through a real Flight client into a real PostgreSQL: forks of depth 1 to 64, replayed and re-ordered
 * microbatches, keep-alives anywhere, calls cut at any message and any byte, servers that forget what they dropped, loaders
 * that die between two statements. After each the tables are those of one clean pass over the final chain.
 */
import { expect, test } from 'vitest';
import { createPool } from '../../src/db/pool.ts';
import { useDatabase } from '../database.ts';
import { openTransactions, unbalancedAssets, wrongBalances } from '../jobs/oracle.ts';
import { limitFor, randomRuns, seed, tellPlayed } from '../seed.ts';
import { addTold, NOTHING_TOLD, playHistory, type History, type Told } from './simulator.ts';

const database = useDatabase();

const HISTORIES = randomRuns(200);
/** One history in so many is loaded by workers first. */
const CATCH_UPS = 5;
/** And one in so many is rough. */
const ROUGH = 10;
/** Histories of one database: a long soak takes a new one, so that its checks stay as quick as at first. */
const IN_ONE_DATABASE = 200;
/** Histories at once. */
const AT_ONCE = 4;

/** On a cluster a fork whose blocks need a new week may be in a ring with a stream that folds; its supervisor tries again. */
const DEADLOCKS = database.topology === 'citus' ? 5 : 0;

/** Histories that found a fault once. */
const NOTABLE: readonly History[] = [
  { seed: -124302088, catchUp: false },
  { seed: 777001, catchUp: false },
  { seed: -95037222, catchUp: true },
  { seed: 3286791, catchUp: true },
  { seed: 30506817, catchUp: true },
  { seed: 2029853398, catchUp: true, rough: true },
  { seed: 2033812897, catchUp: true, rough: true },
  { seed: 1775310188, catchUp: true, rough: true },
];

/** Plays histories, a few at once; the first failure names its seed. */
const playAll = async (url: string, all: readonly History[]): Promise<Told> => {
  const pool = createPool(url, { applicationName: 'pgstrata simulator' });
  let told = NOTHING_TOLD;
  const waiting = [...all];
  const work = async (): Promise<void> => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      const history = next;
      const seen = await playHistory(pool, url, history, DEADLOCKS).catch((thrown: unknown) => {
        waiting.length = 0;
        throw new Error(`history ${JSON.stringify(history)} failed: ${String(thrown)}`, { cause: thrown });
      });
      told = addTold(told, seen);
    }
  };
  try {
    await Promise.all(Array.from({ length: AT_ONCE }, work));
    expect(await openTransactions(pool)).toEqual([]);
    expect(await wrongBalances(pool)).toEqual([]);
    expect(await unbalancedAssets(pool)).toBe(0);
  } finally {
    await pool.end();
  }
  return told;
};

test('histories that found a fault once', () => playAll(database.url, NOTABLE));

test(
  `${HISTORIES} histories end in the tables of one clean pass`,
  { timeout: limitFor(HISTORIES, 1_500) },
  async () => {
    console.info(`simulator: ${HISTORIES} histories, PGSTRATA_SEED=${seed()}`);
    const all = Array.from({ length: HISTORIES }, (_unused, index) => ({
      seed: (seed() + index * 7919) | 0,
      catchUp: index % CATCH_UPS === 0,
      rough: index % ROUGH === 0,
    }));
    let told = NOTHING_TOLD;
    for (let first = 0; first < all.length; first += IN_ONE_DATABASE) {
      const { url } = first === 0 ? database : await database.createDatabase();
      told = addTold(told, await playAll(url, all.slice(first, first + IN_ONE_DATABASE)));
      tellPlayed('simulator', first + IN_ONE_DATABASE);
    }
    console.info(`simulator: ${JSON.stringify(told)}`);
    expect(told.reorgs).toBeGreaterThan(HISTORIES / 3);
    expect(told.failures).toBeGreaterThan(HISTORIES / 10);
    const catchUps = HISTORIES / CATCH_UPS;
    expect(told.partitions).toBeGreaterThan(catchUps * 2);
    expect(told.brokenPartitions).toBeGreaterThan(catchUps / 5);
    expect(told.holes).toBeGreaterThan(catchUps / 2);
    expect(told.followed).toBeGreaterThan(catchUps / 5);
  },
);
