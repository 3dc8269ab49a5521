/** Shards move to another node, weeks stored by column among them, while a stream loads. */
import { beforeAll, describe, expect, test } from 'vitest';
import { migrate } from '../../src/db/migrate.ts';
import { runMaintenance } from '../../src/jobs/maintenance.ts';
import { checkCluster } from '../../src/warehouse/checkup-cluster.ts';
import { blocksOf, DAY, HOUR, move, openStream, valueOf, verified, WEEK } from '../balances/harness.ts';
import { NOW, type Player } from '../balances/play.ts';
import { useDatabase } from '../database.ts';
import { until } from '../db/until.ts';
import { onCluster, SHARDS, workersOf, type ClusterNode } from './cluster.ts';

await onCluster('shards that move', () => {
  const database = useDatabase();
  let stream: Player;
  let nodes: readonly ClusterNode[];

  const kinds = (): Promise<string> =>
    valueOf(
      database.pool,
      `select string_agg(kind, ' ' order by lower_bound) from strata.week_info('balance_changes')`,
    );
  const shardsOn = async (node: ClusterNode): Promise<number[]> => {
    const { rows } = await database.pool.query<{ shard: number }>(
      `select s.shardid::int as shard from pg_dist_shard s join pg_dist_placement p using (shardid) join pg_dist_node n using (groupid)
        where s.logicalrelid = 'strata.shards'::regclass and n.nodeport = $1 order by 1`,
      [node.port],
    );
    return rows.map(({ shard }) => shard);
  };

  beforeAll(async () => {
    const { pool } = database;
    nodes = await workersOf(database.url);
    stream = openStream(pool, 'moving');
    const weeks = [0n, 1n, 2n, 3n].map((week) =>
      [1, 2, 3, 4].map((to) => move(0, to, to, week * WEEK + DAY)),
    );
    await stream.play(blocksOf(...weeks), 0);
    await pool.query(
      `update strata.partition_sets set consolidate_after = '40 days' where set_name = 'balance_changes'`,
    );
    const signal = new AbortController().signal;
    await runMaintenance({ pool, verb: 'consolidate', sets: ['balance_changes'], now: NOW, signal });
  });

  describe('one of them', () => {
    test('goes with its columnar weeks, and needs its functions before it is read', async () => {
      const { pool } = database;
      expect(await kinds()).toBe('columnar columnar sharded sharded');
      const [from, to] = [nodes[0]!, nodes[1]!];
      const [shard] = await shardsOn(from);
      const transfer = (mode: string): Promise<unknown> =>
        pool.query(
          `select citus_move_shard_placement($1, $2, $3, $4, $5, shard_transfer_mode => $6::citus.shard_transfer_mode)`,
          [shard, from.host, from.port, to.host, to.port, mode],
        );
      // The fold's staging tables are unlogged: no logical replication takes them along.
      await expect(transfer('auto')).rejects.toMatchObject({ code: '0A000' });
      await transfer('block_writes');
      expect(await shardsOn(to)).toContain(shard);
      expect(await kinds()).toBe('columnar columnar sharded sharded');

      await expect(verified(pool)).rejects.toMatchObject({
        message: expect.stringContaining(`shard ${shard} has come to this node`) as string,
        detail: { remedy: expect.stringContaining('pgstrata migrate') as string },
      });
      expect(await checkCluster(pool)).toMatchObject({
        state: 'warning',
        remedy: expect.stringContaining('pgstrata migrate') as string,
      });
      await migrate({ connectionString: database.url });
      expect(await checkCluster(pool)).toMatchObject({ state: 'ok' });
      expect(await verified(pool)).toMatchObject({ differences: 0, first: [] });
    });
  });

  describe('the rebalancer', () => {
    test('moves them while a stream loads, which waits for each', { timeout: 180_000 }, async () => {
      const { pool } = database;
      expect((await shardsOn(nodes[1]!)).length).toBe(SHARDS / 2 + 1);
      await pool.query(
        `select citus_rebalance_start(rebalance_strategy => 'by_shard_count', shard_transfer_mode => 'block_writes')`,
      );
      const state = (): Promise<string> => valueOf(pool, 'select state::text from citus_rebalance_status()');
      let step = 1;
      do {
        const at = 3n * WEEK + 2n * DAY + (BigInt(step) * HOUR) / 60n;
        await stream.play(blocksOf([move(0, 1, step, at), move(1, 2, 1, DAY + HOUR)]), step++);
      } while (!['finished', 'failed'].includes(await state()));
      expect(await state()).toBe('finished');
      expect((await shardsOn(nodes[1]!)).length).toBe(SHARDS / 2);
      // One more makes the functions of what has moved; a fork into a columnar week turns it back where it now lies.
      await stream.play(blocksOf([move(2, 3, 1, 3n * WEEK + DAY)]), step++);
      await stream.play({ ...blocksOf([move(2, 3, 2, 3n * WEEK + DAY)]), back: 2 }, step);
      expect(await kinds()).toBe('sharded sharded sharded sharded');
      await until('the rebalancer to be done', async () => (await state()) === 'finished');
      expect(await verified(pool)).toMatchObject({ differences: 0, first: [] });
    });
  });
});
