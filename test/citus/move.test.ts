/** A warehouse that has grown on one server moves to the nodes of a cluster, with all its rows. */
import { randomBytes } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { createPool } from '../../src/db/pool.ts';
import { migrate } from '../../src/db/migrate.ts';
import { blocksOf, DAY, HOUR, move, openStream, verified, valueOf, WEEK } from '../balances/harness.ts';
import { expectExact } from '../balances/tables.ts';
import { databaseUrl } from '../postgres.ts';
import { clusterUrl, createCluster, onCluster, onNodes, workersOf } from './cluster.ts';

await onCluster('the move', () => {
  describe('a warehouse of one server', () => {
    test('is moved by migrate, and goes on where it was', { timeout: 300_000 }, async () => {
      const home = clusterUrl().url ?? '';
      const workers = await workersOf(home);
      const name = `strata_move_${randomBytes(4).toString('hex')}`;
      await createCluster(home, name, workers);
      const url = databaseUrl(home, name);
      const pool = createPool(url, { applicationName: 'pgstrata test' });
      try {
        expect(await migrate({ connectionString: url, topology: 'single' })).toMatchObject({
          topology: 'single',
        });
        const stream = openStream(pool, 'moved');
        await stream.play(
          blocksOf(
            [move(0, 1, 100, 0n), move(0, 2, 5, WEEK)],
            [move(1, 3, 7, WEEK + HOUR)],
            [move(2, 4, 1, DAY)],
          ),
          0,
        );
        expect(await valueOf(pool, 'select strata.topology()')).toBe('single');
        expect(await migrate({ connectionString: url, shards: 4 })).toMatchObject({ topology: 'citus' });
        expect(
          await valueOf(
            pool,
            `select count(*)::int from strata.week_info('balance_changes') where kind <> 'sharded'`,
          ),
        ).toBe(0);
        await expectExact(pool, 'hour', stream.assets, 0);
        stream.restart(); // moved under a loader, as under a new release: it starts again
        await stream.play({ ...blocksOf([move(3, 1, 2, 2n * DAY)], [move(0, 4, 9, WEEK)]), back: 1 }, 1);
        expect(await verified(pool)).toMatchObject({ differences: 0, first: [] });
      } finally {
        await pool.end();
        await onNodes(home, workers, (client) =>
          client.query(`drop database if exists ${name} with (force)`),
        );
      }
    });
  });
});
