/** kill -9 of the client at every step, and of the server at those that count: afterwards nothing is lost, nothing is left over, and the next attempt finishes. */
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startEmbedded, type EmbeddedPostgres } from '../../src/db/embedded.ts';
import { migrate } from '../../src/db/migrate.ts';
import { createPool } from '../../src/db/pool.ts';
import type { Pool } from '../../src/db/query.ts';
import { readPostmaster } from '../../src/db/server-process.ts';
import { applyAdopt, type AdoptEvent } from '../../src/warehouse/partitions/adopt/apply.ts';
import { planAdopt } from '../../src/warehouse/partitions/adopt/plan.ts';
import { recoverAdoptions } from '../../src/warehouse/partitions/adopt/recover.ts';
import { applyUndoAdopt, planUndoAdopt } from '../../src/warehouse/partitions/adopt/undo.ts';
import { useDatabase } from '../database.ts';
import { randomRuns } from '../seed.ts';
import { BALANCES, expectNoAdoptionLeft, fillBalances } from './adopt.ts';
import { BALANCES_REQUEST, BALANCES_SET, PRESENT } from './adopt-settings.ts';
import { contents } from './consolidate.ts';
import { dieIn } from './killed.ts';
import { QUICK } from './settings.ts';

const ROUNDS = randomRuns(1);
const TABLE = 'public.account_balances';

type Blow = readonly [verb: 'adopt' | 'undo', phase: string, when: 'before' | 'behind', then: string];

/** Where the blow falls: before a step, so behind the one before, and behind the last; and what recovery makes of it. */
const BLOWS: readonly Blow[] = [
  ['adopt', 'stage', 'before', 'nothing'],
  ['adopt', 'weeks', 'before', 'taken away'],
  ['adopt', 'capture', 'before', 'taken away'],
  ['adopt', 'copy', 'before', 'taken away'],
  ['adopt', 'index', 'before', 'adopted'],
  ['undo', 'reopen', 'before', 'nothing'],
  ['undo', 'replay', 'before', 'undone'],
  ['adopt', 'arm', 'before', 'adopted'],
  ['undo', 'prove', 'before', 'undone'],
  ['adopt', 'replay', 'before', 'adopted'],
  ['undo', 'swap', 'before', 'undone'],
  ['adopt', 'prove', 'before', 'adopted'],
  ['undo', 'drop', 'before', 'undone'],
  ['adopt', 'swap', 'before', 'adopted'],
  ['undo', 'drop', 'behind', 'nothing'],
  ['adopt', 'swap', 'behind', 'nothing'],
];

const isAdopted = async (pool: Pool): Promise<boolean> => {
  const { rows } = await pool.query<{ relkind: string }>(
    `select relkind from pg_class where oid = '${TABLE}'::regclass`,
  );
  return rows[0]?.relkind === 'p';
};

const make = async (pool: Pool, verb: 'adopt' | 'undo'): Promise<void> => {
  if ((await isAdopted(pool)) === (verb === 'adopt')) return;
  if (verb === 'adopt')
    await applyAdopt(pool, await planAdopt(pool, BALANCES_REQUEST, { now: PRESENT }), { patience: QUICK });
  else await applyUndoAdopt(pool, await planUndoAdopt(pool, BALANCES_SET), { patience: QUICK });
};

/** Prepares the table for a blow; returns all that it holds. */
const prepare = async (pool: Pool, verb: Blow[0]): Promise<string> => {
  await make(pool, verb === 'adopt' ? 'undo' : 'adopt');
  await pool.query(`update ${TABLE} set usd_value = usd_value + 1 where usd_value < 50`);
  await pool.query(
    `update ${TABLE} set "timestamp" = "timestamp" + interval '7 days 1 minute' where usd_value between 60 and 70 and "timestamp" < '2024-01-22'`,
  );
  return contents(pool, TABLE);
};

/** Whatever a crash has left, the table takes writes and gives all its rows; and recovery does what it should. */
const expectRecovery = async (pool: Pool, before: string, then: Blow[3]): Promise<void> => {
  await pool.query(`update ${TABLE} set usd_value = usd_value where usd_value < 100`);
  expect(await contents(pool, TABLE)).toBe(before);
  const recovered = await recoverAdoptions(pool, { patience: QUICK });
  expect(recovered.map(({ outcome }) => outcome)).toEqual(then === 'nothing' ? [] : [then]);
  await expectNoAdoptionLeft(pool);
  expect(await contents(pool, TABLE)).toBe(before);
};

describe('the client', () => {
  const database = useDatabase();

  beforeAll(async () => {
    await database.pool.query(BALANCES);
    await fillBalances(database.pool, 400);
  });

  it.each(Array.from({ length: ROUNDS }, () => BLOWS).flat())(
    'killed when it comes to %s, %s (%s): %s',
    { timeout: 60_000 },
    async (verb, phase, when, then) => {
      const { pool } = database;
      const before = await prepare(pool, verb);
      await dieIn(database, new URL('adopt-child.ts', import.meta.url), [verb, phase, when]);
      await expectRecovery(pool, before, then);
    },
  );
});

/** Every blow in a soak; otherwise one behind the copy and one before each exchange. */
const SERVER_BLOWS = BLOWS.filter(
  ([, phase, when]) => ROUNDS > 1 || phase === 'index' || (phase === 'swap' && when === 'before'),
);

describe('the server', () => {
  let dir = '';
  let server: EmbeddedPostgres;
  let pool: Pool;

  const start = async (): Promise<void> => {
    server = await startEmbedded({ dir, fsync: false, settings: { shared_buffers: '32MB' } });
    pool = createPool(server.url, { max: 6, synchronousCommit: 'on' });
  };

  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), `pgstrata-test-${process.pid}-`));
    await chmod(dir, 0o711);
    await start();
    await migrate({ connectionString: server.url });
    await pool.query(BALANCES);
    await fillBalances(pool, 400);
  });
  afterAll(async () => {
    await pool.end();
    await server.stop();
    await rm(dir, { recursive: true, force: true });
  });

  it.each(Array.from({ length: ROUNDS }, () => SERVER_BLOWS).flat())(
    'killed when we come to %s, %s (%s): %s',
    { timeout: 60_000 },
    async (verb, phase, when, then) => {
      const before = await prepare(pool, verb);
      const postmaster = await readPostmaster(server.dataDir);
      const onEvent = ({ kind, step }: AdoptEvent): void => {
        if (kind === (when === 'before' ? 'step' : 'done') && step.startsWith(`${phase} `))
          process.kill(postmaster?.pid ?? NaN, 'SIGKILL');
      };
      const options = { patience: QUICK, onEvent };
      const work =
        verb === 'adopt'
          ? applyAdopt(pool, await planAdopt(pool, BALANCES_REQUEST, { now: PRESENT }), options)
          : applyUndoAdopt(pool, await planUndoAdopt(pool, BALANCES_SET), options);
      await work.catch(() => undefined); // killed behind the last statement there is nothing to fail
      await pool.end();
      await server.stop();
      await start();
      await expectRecovery(pool, before, then);
    },
  );
});
