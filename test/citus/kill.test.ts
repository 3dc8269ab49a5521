/** A worker dies by SIGKILL in the middle of a batch, of a fold and of a commit: nothing is lost or doubled. */
import { beforeAll, describe, expect, test } from 'vitest';
import { useDatabase } from '../database.ts';
import { blocksOf, DAY, HOUR, move, openStream, verified, WEEK } from '../balances/harness.ts';
import { expectExact } from '../balances/tables.ts';
import { mortalClusterUrl, onCluster } from './cluster.ts';
import { testKilledServer } from './server-kill.ts';
import { killedWorker, recoverCluster } from './worker-kill.ts';

/** Statements of one load's transaction, from `begin` to `commit`. */
const STATEMENTS = 14;

await onCluster(
  'a worker that is killed',
  () => {
    const database = useDatabase();
    const disaster = killedWorker(() => database.url);

    beforeAll(async () => {
      // A session learns that a kept connection to a worker is dead only by using it: here none is kept.
      const name = new URL(database.url).pathname.slice(1);
      await database.pool.query(`alter database ${name} set citus.max_cached_conns_per_worker = 0`);
    });

    describe.each([false, true])('a worker killed, its statement on the way: %s', (sent) => {
      test('at each statement of a transaction leaves everything exact', { timeout: 600_000 }, async () => {
        const stream = openStream(database.pool, `killed_${sent}`, {
          disaster,
          check: async (player) => {
            await recoverCluster(database.url);
            await expectExact(database.pool, 'hour', player.assets, 0);
          },
        });
        await stream.play(blocksOf([move(0, 1, 100, 0n), move(0, 2, 7, DAY)]), 0);
        const before = disaster.struck.kills;
        for (let at = 2; at <= STATEMENTS; at++) {
          const hour = BigInt(at) * HOUR;
          const fresh = [
            move(0, 1, at, hour),
            move(1, 2, 1, hour),
            move(2, 3, 1, hour - WEEK),
            move(3, 4, 1, hour),
          ];
          // Every third batch replaces the one before: its fork is taken back with the worker gone.
          const step = { ...blocksOf(fresh), back: at % 3 === 0 ? 1 : 0, crash: { at, sent } };
          await stream.play(step, at);
        }
        expect(disaster.struck.kills - before).toBeGreaterThanOrEqual(8);
        await recoverCluster(database.url);
        expect(await verified(database.pool)).toMatchObject({ differences: 0, first: [] });
      });
    });
  },
  mortalClusterUrl(),
);

await onCluster('the server of a worker', testKilledServer, mortalClusterUrl());
