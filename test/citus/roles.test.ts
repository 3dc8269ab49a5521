/** Least privilege on a cluster: an owner who is no superuser, and the three group roles, each doing its part over the nodes. */
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { asWarehouseError } from '../../src/db/errors.ts';
import { createPool } from '../../src/db/pool.ts';
import { migrate } from '../../src/db/migrate.ts';
import type { Pool } from '../../src/db/query.ts';
import { createChain, type SimulatedChain } from '../../src/devnet/chain.ts';
import { startDevnet, type Devnet } from '../../src/devnet/server.ts';
import { foldStream } from '../../src/jobs/fold.ts';
import { runMaintenance } from '../../src/jobs/maintenance.ts';
import { runQuery } from '../../src/warehouse/analytics/run.ts';
import { checkCluster } from '../../src/warehouse/checkup-cluster.ts';
import { readOverview } from '../../src/warehouse/partitions/overview.ts';
import { readStatus } from '../../src/warehouse/status.ts';
import { verified } from '../balances/harness.ts';
import { load, TRANSFERS } from '../jobs/loading.ts';
import { expectChain, wrongBalances } from '../jobs/oracle.ts';
import { databaseUrl, withConnection } from '../postgres.ts';
import { servePage } from '../server/warehouse.ts';
import { jsonAt } from '../server/asking.ts';
import {
  clusterUrl,
  createCluster,
  onCluster,
  onNodes,
  SHARDS,
  workersOf,
  type ClusterNode,
} from './cluster.ts';

await onCluster('roles', () => {
  const suffix = randomBytes(4).toString('hex');
  const name = `strata_roles_${suffix}`;
  const [owner, loader, reader, maintainer, stranger] = [
    'owner',
    'loader',
    'reader',
    'maintainer',
    'stranger',
  ].map((part) => `strata_${part}_${suffix}`) as [string, string, string, string, string];
  const pools = new Map<string, Pool>();
  let home: string;
  let workers: readonly ClusterNode[];
  let chain: SimulatedChain;
  let devnet: Devnet;

  const urlOf = (user: string): string => {
    const url = new URL(databaseUrl(home, name));
    url.username = user;
    return url.href;
  };
  const as = (user: string): Pool => {
    const pool = pools.get(user) ?? createPool(urlOf(user), { applicationName: 'pgstrata test', max: 6 });
    pools.set(user, pool);
    return pool;
  };
  const signal = new AbortController().signal;

  beforeAll(async () => {
    home = clusterUrl().url ?? '';
    workers = await workersOf(home);
    await createCluster(home, name, workers);
    const superuser = databaseUrl(home, name);
    // What only a superuser may: roles that may make roles, the database's owner, the extension.
    await withConnection(superuser, (client) => client.query(`create role ${owner} login createrole`));
    await onNodes(superuser, workers, (client) => client.query(`alter database ${name} owner to ${owner}`));
    await withConnection(superuser, (client) => client.query('create extension citus_columnar'));
    expect(
      await migrate({ connectionString: urlOf(owner), topology: 'citus', shards: SHARDS }),
    ).toMatchObject({ topology: 'citus' });
    for (const [user, group] of [
      [loader, 'strata_loader'],
      [reader, 'strata_reader'],
      [maintainer, 'strata_maintainer'],
    ])
      await withConnection(superuser, (client) =>
        client.query(`create role ${user} login; grant ${group} to ${user}`),
      );
    chain = createChain({
      accounts: 20,
      tokens: 2,
      transfersPerBlock: 6,
      blocks: 60,
      blockSeconds: 21_600,
      seed: 3,
    });
    devnet = await startDevnet({ chain, microbatchBlocks: 6 });
  }, 300_000);
  afterAll(async () => {
    await devnet.stop();
    for (const pool of pools.values()) await pool.end();
    await onNodes(home, workers, (client) => client.query(`drop database if exists ${name} with (force)`));
    await onNodes(home, workers, async (client) => {
      for (const user of [owner, loader, reader, maintainer, stranger])
        await client.query(`drop role if exists ${user}`);
    });
  });

  const loaded = (stream: string, settings: object = {}): Promise<unknown> =>
    load({
      pool: as(loader),
      url: devnet.url,
      stream,
      settings: { ...TRANSFERS, commit_rows: 200, ...settings },
    });

  /** As often as it is told to try again, twice at most. */
  const again = async (work: () => Promise<unknown>): Promise<unknown> => {
    for (let told = 0; ; told++) {
      try {
        return await work();
      } catch (thrown) {
        if (told === 2 || asWarehouseError(thrown).detail.sqlstate !== '40001') throw thrown;
      }
    }
  };

  describe('of a warehouse whose owner is no superuser', () => {
    test(
      'the loader makes weeks, loads, follows forks and folds what waited',
      { timeout: 120_000 },
      async () => {
        await loaded('live');
        chain.reorg(5, 8);
        await loaded('live');
        await expectChain(as(loader), 'live', chain);
        await loaded('behind', { fold: 'deferred' });
        await foldStream({ pool: as(loader), stream: 'behind', signal });
        expect(await wrongBalances(as(loader))).toEqual([]);
        for (const no of [
          'drop table strata.balance_changes',
          `select strata.store_week('balance_changes', (select max(partition) from strata.week_info('balance_changes')))`,
        ])
          await expect(as(loader).query(no)).rejects.toMatchObject({ code: '42501' });
        await expect(as(reader).query('drop table strata.balance_changes')).rejects.toMatchObject({
          code: '42501',
        });
      },
    );

    test(
      'the owner stores old weeks by column, and a fork of the loader turns them back',
      { timeout: 120_000 },
      async () => {
        await as(owner).query(
          `update strata.partition_sets set consolidate_after = '1 day' where set_name = 'balance_changes'`,
        );
        const last = (await readOverview(as(owner), ['balance_changes'], new Date()))[0];
        expect(last?.kinds.columnar).toBeUndefined();
        const [run] = await runMaintenance({
          pool: as(owner),
          verb: 'consolidate',
          sets: ['balance_changes'],
          now: new Date(),
          signal,
        });
        expect(run).toMatchObject({ outcome: 'done' });
        expect(
          (await readOverview(as(reader), ['balance_changes'], new Date()))[0]?.kinds.columnar,
        ).toBeGreaterThan(0);
        // Where Citus cannot do the owner's work amid the loader's it is done apart, and the batch tried again.
        chain.reorg(3, 5);
        await again(() => loaded('live'));
        await expectChain(as(loader), 'live', chain);
        // A fork whose blocks need new weeks as well.
        chain.reorg(2, 40);
        await again(() => loaded('live'));
        await expectChain(as(loader), 'live', chain);
        await again(() => loaded('behind', { fold: 'live' }));
        expect(await verified(as(maintainer))).toMatchObject({ differences: 0, first: [] });
      },
    );

    test(
      'the reader asks queries, status and the page, and may write nothing',
      { timeout: 60_000 },
      async () => {
        const { rows } = await as(owner).query<{ asset: string }>(
          'select asset_id::text as asset from strata.assets limit 1',
        );
        const asset = rows[0]!.asset;
        const holders = await Array.fromAsync(runQuery(as(reader), 'top-holders', { asset }));
        expect(holders.length).toBeGreaterThan(0);
        const balances = await Array.fromAsync(
          runQuery(as(reader), 'balances', { account: holders[0]!.account, at: new Date('2030-01-01') }),
        );
        expect(balances.length).toBeGreaterThan(0);
        expect((await readStatus(as(reader))).sets.every(({ bytes }) => bytes >= 0)).toBe(true);
        const page = await servePage(as(reader));
        try {
          expect(await jsonAt(page.url, `/api/account?account=${holders[0]!.account}`)).toMatchObject({
            holdings: expect.arrayContaining([expect.objectContaining({ asset_id: asset })]) as unknown,
          });
        } finally {
          await page.stop();
        }
        for (const write of [
          'delete from strata.account_balances',
          `select strata.in_shards('rebuild_state')`,
        ])
          await expect(as(reader).query(write)).rejects.toMatchObject({ code: '42501' });
      },
    );

    test('the maintainer reads all and writes the journals', async () => {
      await as(maintainer).query(
        `insert into strata.maintenance_runs (set_name, verb, outcome, asked_by) values ('balance_changes', 'optimize', 'done', 'library')`,
      );
      expect((await readStatus(as(maintainer))).cluster).toMatchObject({ shards: SHARDS });
      await expect(as(maintainer).query('delete from strata.balance_changes')).rejects.toMatchObject({
        code: '42501',
      });
    });

    test('doctor says who cannot be let in by the nodes', async () => {
      expect(await checkCluster(as(reader))).toMatchObject({ state: 'ok' });
      await withConnection(databaseUrl(home, name), (client) =>
        client.query(
          `set citus.enable_create_role_propagation = off; create role ${stranger} login; grant strata_reader to ${stranger}`,
        ),
      );
      expect(await checkCluster(as(stranger))).toMatchObject({
        state: 'fault',
        says: expect.stringContaining(`does not answer ${stranger}`) as string,
        remedy: expect.stringContaining('pg_dist_authinfo') as string,
      });
    });
  });
});
