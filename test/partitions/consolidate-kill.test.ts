/** kill -9 of the client, and of the server, at every step: afterwards nothing is lost, nothing is left over, and the job finishes. */
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startEmbedded, type EmbeddedPostgres } from '../../src/db/embedded.ts';
import { migrate } from '../../src/db/migrate.ts';
import { createPool } from '../../src/db/pool.ts';
import type { Pool } from '../../src/db/query.ts';
import { applyConsolidate, type ConsolidateEvent } from '../../src/warehouse/partitions/consolidate/apply.ts';
import { planConsolidate } from '../../src/warehouse/partitions/consolidate/plan.ts';
import { recoverConsolidations } from '../../src/warehouse/partitions/consolidate/recover.ts';
import {
  applyUndoConsolidation,
  planUndoConsolidation,
} from '../../src/warehouse/partitions/consolidate/undo.ts';
import { useDatabase } from '../database.ts';
import { openDataFolder } from '../postgres.ts';
import { randomRuns } from '../seed.ts';
import { contents, expectNothingLeft, fillChanges, kinds } from './consolidate.ts';
import { dieIn } from './killed.ts';
import { NOW, QUICK } from './settings.ts';

const SET = 'balance_changes';
const ROUNDS = randomRuns(1);
const LIMIT_MS = 60_000 + ROUNDS * 60_000;
const ROWS = 400;

type Blow = readonly [verb: 'consolidate' | 'undo', phase: string, when: 'before' | 'behind'];

/** Where the blow falls: before a step, so behind the one before, and behind the last; in turns, since each needs what the other leaves. */
const BLOWS: readonly Blow[] = [
  ['consolidate', 'stage', 'before'],
  ['undo', 'reopen', 'before'],
  ['consolidate', 'capture', 'before'],
  ['undo', 'replay', 'before'],
  ['consolidate', 'copy', 'before'],
  ['undo', 'prove', 'before'],
  ['consolidate', 'freeze', 'before'],
  ['undo', 'swap', 'before'],
  ['consolidate', 'index', 'before'],
  ['undo', 'drop', 'before'],
  ['consolidate', 'replay', 'before'],
  ['consolidate', 'prove', 'before'],
  ['consolidate', 'swap', 'before'],
  ['consolidate', 'swap', 'behind'],
];

/** What must hold after any blow: recover, finish, compare; then it is undone for the next blow. */
const expectRecovery = async (pool: Pool, verb: 'consolidate' | 'undo', before: string): Promise<void> => {
  const { weeks } = await recoverConsolidations(pool, SET, { patience: QUICK });
  for (const { outcome, error } of weeks) {
    if (outcome === 'failed') expect(error).toBe('broken off before its copy was whole');
  }
  await expectNothingLeft(pool);
  expect(await contents(pool, 'strata.balance_changes')).toBe(before);
  const plan =
    verb === 'consolidate'
      ? await planConsolidate(pool, SET, { now: NOW })
      : await planUndoConsolidation(pool, SET);
  const done = await (verb === 'consolidate' ? applyConsolidate : applyUndoConsolidation)(pool, plan, {
    patience: QUICK,
  });
  expect(done.weeks.filter(({ outcome }) => outcome === 'failed')).toEqual([]);
  expect(await kinds(pool)).toEqual([verb === 'consolidate' ? 'consolidated' : 'hash']);
  expect(await contents(pool, 'strata.balance_changes')).toBe(before);
  await expectNothingLeft(pool);
};

/** Brings the week into the state in which the verb has something to do, with late rows to be replayed back. */
const prepare = async (pool: Pool, verb: 'consolidate' | 'undo'): Promise<string> => {
  const [kind] = await kinds(pool);
  if (verb === 'consolidate' && kind === 'consolidated')
    await applyUndoConsolidation(pool, await planUndoConsolidation(pool, SET), { patience: QUICK });
  if (verb === 'undo' && kind === 'hash')
    await applyConsolidate(pool, await planConsolidate(pool, SET, { now: NOW }), { patience: QUICK });
  await pool.query(`update ${SET} set delta = delta + 1 where block_num % 10 = 0`);
  await pool.query(`update ${SET} set block_num = block_num + 10000 where block_num % 17 = 0`);
  return contents(pool, 'strata.balance_changes');
};

describe('the client', () => {
  const database = useDatabase();

  it.each(Array.from({ length: ROUNDS }, () => BLOWS).flat())(
    'killed when it comes to %s, %s (%s)',
    { timeout: LIMIT_MS },
    async (verb, phase, when) => {
      const { pool } = database;
      if ((await kinds(pool)).length === 0) await fillChanges(pool, 1, ROWS);
      const before = await prepare(pool, verb);
      await dieIn(database, new URL('consolidate-child.ts', import.meta.url), [verb, phase, when]);
      await expectRecovery(pool, verb, before);
    },
  );
});

describe('the server', () => {
  let dir = '';
  let server: EmbeddedPostgres;
  let pool: Pool;

  const start = async (): Promise<void> => {
    server = await startEmbedded({ dir, fsync: false, settings: { shared_buffers: '32MB' } });
    pool = createPool(server.url, { max: 6, synchronousCommit: 'on' });
  };

  beforeAll(async () => {
    dir = await openDataFolder();
    await start();
    await migrate({ connectionString: server.url });
    await fillChanges(pool, 1, ROWS);
  });
  afterAll(async () => {
    await pool.end();
    await server.stop();
    await rm(dir, { recursive: true, force: true });
  });

  it.each(Array.from({ length: ROUNDS }, () => BLOWS).flat())(
    'killed when we come to %s, %s (%s)',
    { timeout: LIMIT_MS },
    async (verb, phase, when) => {
      const before = await prepare(pool, verb);
      const postmaster = Number(
        (await readFile(join(server.dataDir, 'postmaster.pid'), 'utf8')).split('\n')[0],
      );
      const onEvent = (event: ConsolidateEvent): void => {
        if (event.kind === (when === 'before' ? 'step' : 'done') && event.step.startsWith(`${phase} `))
          process.kill(postmaster, 'SIGKILL');
      };
      const work =
        verb === 'consolidate'
          ? applyConsolidate(pool, await planConsolidate(pool, SET, { now: NOW }), {
              patience: QUICK,
              onEvent,
            })
          : applyUndoConsolidation(pool, await planUndoConsolidation(pool, SET), {
              patience: QUICK,
              onEvent,
            });
      await work.catch(() => undefined); // killed behind the last statement there is nothing to fail
      await pool.end();
      await server.stop();
      await start();
      await expectRecovery(pool, verb, before);
    },
  );
});
