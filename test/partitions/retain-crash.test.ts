/** Whatever dies at whatever statement of a retention or of its undo: consistent at once, and the next one finishes the job. */
import { rm } from 'node:fs/promises';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { startEmbedded } from '../../src/db/embedded.ts';
import { asWarehouseError } from '../../src/db/errors.ts';
import { migrate } from '../../src/db/migrate.ts';
import { createPool } from '../../src/db/pool.ts';
import type { Pool } from '../../src/db/query.ts';
import { isAlive, readPostmaster } from '../../src/db/server-process.ts';
import type { StepEvent } from '../../src/warehouse/partitions/apply.ts';
import { applyRetain } from '../../src/warehouse/partitions/retain/apply.ts';
import { planRetain } from '../../src/warehouse/partitions/retain/plan.ts';
import { crashingPool } from '../balances/crash.ts';
import { openStream, valueOf, verified, WEEK } from '../balances/harness.ts';
import { foldAll } from '../balances/oracle.ts';
import type { Player } from '../balances/play.ts';
import { expectRetained, fiveWeeks } from '../balances/retained.ts';
import { expectFolded, storedTables } from '../balances/tables.ts';
import { useDatabase } from '../database.ts';
import { openDataFolder } from '../postgres.ts';
import { until } from '../db/until.ts';
import { randomRuns, seed } from '../seed.ts';
import { presentFor, quietly, retain, retainTwoWeeks, undo } from './retaining.ts';

const database = useDatabase();

/** Sets that are taken out together: which rest on which is part of what is tested. */
const SETS = ['account_balances', 'balance_changes'] as const;

/** Tries again while the session of the dead still holds the maintainer's lock, and for the server while it recovers. */
const insist = <T>(what: string, work: () => Promise<T>): Promise<NonNullable<T>> =>
  until(what, () =>
    work().catch((thrown: unknown) => {
      const { kind, message } = asWarehouseError(thrown);
      if ((kind === 'conflict' && /being maintained/.test(message)) || kind === 'connection')
        return undefined as T;
      throw thrown;
    }),
  );

const expectNothingLeft = async (pool: Pool): Promise<void> => {
  expect(
    await valueOf(
      pool,
      `select (select count(*) from strata.held_partitions where state = 'detaching')
            + (select count(*) from pg_inherits where inhdetachpending)
            + (select count(*) from pg_class c join pg_inherits i on i.inhrelid = c.oid
                where c.relnamespace = 'strata_held'::regnamespace and i.inhparent = 'strata.balance_changes'::regclass)`,
    ),
  ).toBe(0);
};

const expectWhole = async (pool: Pool, player: Player): Promise<void> => {
  expectFolded(await storedTables(pool, player.assets), foldAll(player.changes(), 'hour', 0));
  expect(await verified(pool)).toMatchObject({ differences: 0, first: [] });
};

/** All that the history shows, as one value. */
const historyOf = (pool: Pool): Promise<string> =>
  valueOf(
    pool,
    `select count(*) || ' ' || coalesce(sum(hashtextextended(h::text, 0)), 0) from strata.balance_history h`,
  );

const open = async (pool: Pool, stream: string): Promise<Player> => {
  const player = openStream(pool, stream, { check: () => Promise.resolve() });
  await retainTwoWeeks(pool, ...SETS);
  await player.play(fiveWeeks(), 0);
  return player;
};

/** Statements of an apply, the lock of the maintainer included; more than there are. */
const STATEMENTS_MAX = 80;

/** Balances, which have the most to lose, at every fourth statement, the others at every eighth; a soak at each. */
const strideOf = (set: (typeof SETS)[number]): number => {
  if (randomRuns(1) > 1) return 1;
  return set === 'account_balances' ? 4 : 8;
};

/** A connection that died is what was asked for; anything else is a failure. */
const refuseAllButCrashes = (thrown: unknown): true => {
  if (asWarehouseError(thrown).kind !== 'connection') throw thrown;
  return true;
};

describe('a client that dies', () => {
  it.each(SETS)(
    'at any statement of a retention of %s, or of its undo, leaves what the next one finishes',
    async (set) => {
      const { pool } = database;
      const player = await open(pool, `client_${set}`);
      const whole = await historyOf(pool);
      const statements = { retain: 0, undo: 0 };
      for (const kind of ['retain', 'undo'] as const) {
        const stride = strideOf(set);
        for (let at = 1 + (Math.abs(seed()) % stride); at < STATEMENTS_MAX; at += stride) {
          if (kind === 'undo') await insist('the retention', () => retain(pool, set, 2));
          const crashing = crashingPool(pool, { at, sent: at % 4 < 2 });
          const dying = kind === 'retain' ? retain(crashing, set, 2) : undo(crashing, set);
          const died = await dying.then(() => false, refuseAllButCrashes);
          // Taken out already or not, what will be retained reads right at once.
          await insist('the reads', async () => {
            await expectRetained(pool, player, 2n * WEEK);
            return true;
          });
          const shown = await historyOf(pool);
          await insist('the retention to be finished', () => retain(pool, set, 2));
          await expectNothingLeft(pool);
          // Never old rows beside the opening rows that stand for them.
          expect([whole, await historyOf(pool)]).toContain(shown);
          await expectRetained(pool, player, 2n * WEEK);
          await insist('the undo', () => undo(pool, set));
          await expectWhole(pool, player);
          statements[kind] = at;
          if (!died) break;
        }
      }
      expect(statements.retain).toBeGreaterThan(12);
      expect(statements.undo).toBeGreaterThan(5);
    },
  );
});

/** Steps of the retention of two weeks: begin, and detach and hold of each. */
const STEPS = 5;

describe('a server that dies', () => {
  it('at any step of a retention comes back to a database that the next one finishes', async () => {
    const dir = await openDataFolder();
    const start = () => startEmbedded({ dir, fsync: false, settings: { synchronous_commit: 'on' } });
    let server = await start();
    let pool = createPool(server.url);
    try {
      await migrate({ connectionString: server.url });
      const player = await open(pool, 'server');
      const kills = randomRuns(3);
      for (let kill = 0; kill < kills; kill++) {
        const set = SETS[kill % SETS.length]!;
        const postmaster = (await readPostmaster(server.dataDir))!;
        const plan = await planRetain(pool, set, { now: presentFor(2) });
        expect(plan.steps).toHaveLength(STEPS);
        const { rows } = await pool.query<{ pid: number }>(
          "select pid from pg_stat_activity where backend_type = 'client backend'",
        );
        const blow = async (): Promise<void> => {
          if (kill % 2 === 1) await nextTurn(); // now the statement is on its way
          for (const { pid } of [postmaster, ...rows]) process.kill(pid, 'SIGKILL');
        };
        let fallen: Promise<void> = Promise.resolve();
        let begun = 0;
        const onEvent = ({ state }: StepEvent): void => {
          if (state === 'begun' && begun++ === kill % STEPS) fallen = blow();
        };
        await expect(applyRetain(pool, plan, { ...quietly(), onEvent })).rejects.toBeDefined();
        await fallen;
        await pool.end().catch(() => undefined);
        await until('the server to be gone', () => !isAlive(postmaster.pid));
        server = await start();
        pool = createPool(server.url);
        expect(await verified(pool)).toMatchObject({ differences: 0, first: [] });
        await insist('the retention to be finished', () => retain(pool, set, 2));
        await expectNothingLeft(pool);
        await expectRetained(pool, player, 2n * WEEK);
        await undo(pool, set);
        await expectWhole(pool, player);
      }
    } finally {
      await pool.end();
      await server.stop();
      await rm(dir, { recursive: true, force: true });
    }
  });
});
