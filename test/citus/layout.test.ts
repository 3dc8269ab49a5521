/** Where everything lies on a cluster, and that folds and reads stay inside the shards. */
import type { PoolClient } from 'pg';
import { beforeAll, describe, expect, test } from 'vitest';
import { withClient } from '../../src/db/pool.ts';
import { migrate } from '../../src/db/migrate.ts';
import { foldWeek } from '../../src/warehouse/balances.ts';
import { checkCluster } from '../../src/warehouse/checkup-cluster.ts';
import { planConsolidate } from '../../src/warehouse/partitions/consolidate/plan.ts';
import { readAtlas, readSizes } from '../../src/warehouse/page/atlas.ts';
import { drawMap } from '../../src/warehouse/page/strata-map.ts';
import { readOverview } from '../../src/warehouse/partitions/overview.ts';
import { readWeeks } from '../../src/warehouse/partitions/weeks.ts';
import { readStatus } from '../../src/warehouse/status.ts';
import { useDatabase } from '../database.ts';
import { assetOf, blocksOf, DAY, HOUR, move, openStream, valueOf, WEEK } from '../balances/harness.ts';
import { NOW } from '../balances/play.ts';
import { onCluster, SHARDS } from './cluster.ts';

const ACCOUNT = `strata.account('0x${'a'.repeat(38)}01')`;

/** What Citus says of a statement and of all that it calls: how it plans to gather rows on the coordinator. */
const gatheredBy = async (client: PoolClient, statement: string): Promise<readonly string[]> => {
  const said: string[] = [];
  const listen = ({ message }: { readonly message?: string | undefined }): void => {
    if (/generating subplan|on coordinator|repartition/i.test(message ?? '')) said.push(message ?? '');
  };
  client.on('notice', listen);
  await client.query('begin; set local client_min_messages = debug1');
  await client.query(statement);
  await client.query('rollback');
  client.off('notice', listen);
  return said;
};

await onCluster('the layout', () => {
  const database = useDatabase();
  const asset = (): string => assetOf('laid');
  beforeAll(async () => {
    const stream = openStream(database.pool, 'laid');
    const blocks = [0n, DAY, WEEK, WEEK + HOUR].map((at) =>
      [1, 2, 3, 4].map((to) => move(0, to, 10 + to, at)),
    );
    await stream.play(blocksOf(...blocks), 0);
  });

  describe('the tables', () => {
    test('of one key are co-located, those of names are everywhere, the ledgers here', async () => {
      const { rows } = await database.pool.query<{ way: string; tables: string[]; groups: number }>(
        `select case p.partmethod when 'h' then 'shards' else 'everywhere' end as way, count(distinct p.colocationid)::int as groups,
                array_agg(c.relname::text order by c.relname) as tables
           from pg_dist_partition p join pg_class c on c.oid = p.logicalrelid
          where c.relnamespace = 'strata'::regnamespace and not c.relispartition group by 1 order by 1`,
      );
      expect(rows).toEqual([
        { way: 'everywhere', groups: 1, tables: ['assets', 'balance_status', 'burn_accounts', 'prices'] },
        {
          way: 'shards',
          groups: 1,
          tables: [
            'account_balances',
            'account_balances_current',
            'account_balances_opening',
            'balance_changes',
            'balance_deltas',
            'held_deltas',
            'held_openings',
            'late_deltas',
            'late_periods',
            'shards',
            'snapshot_keys',
            'snapshot_periods',
            'snapshot_rows',
            'snapshot_touched',
          ],
        },
      ]);
      expect(await valueOf(database.pool, 'select count(*)::int from strata.shards')).toBe(SHARDS);
    });

    test('are weeks by range without leaves; status, doctor and plans know it', async () => {
      const { rows } = await database.pool.query(
        `select distinct kind, leaves from strata.week_info('balance_changes')`,
      );
      expect(rows).toEqual([{ kind: 'sharded', leaves: 0 }]);
      const status = await readStatus(database.pool);
      expect(status.cluster).toMatchObject({ shards: SHARDS });
      expect(status.sets.find(({ set_name }) => set_name === 'balance_changes')?.bytes).toBeGreaterThan(0);
      expect(await checkCluster(database.pool)).toMatchObject({ check: 'topology', state: 'ok' });
      const plan = await planConsolidate(database.pool, 'balance_changes', {
        now: new Date(),
        weeks: [new Date('2026-01-04T00:00:00Z')],
      });
      expect(plan.steps).toEqual([]);
      expect(plan.notes.join('\n')).toContain('the shards of the cluster, which are not merged');
    });

    test('are weighed and counted where they lie', async () => {
      await database.pool.query('analyze strata.balance_changes');
      // Eight changes at each of two hours of both weeks.
      const { rows: sizes } = await database.pool.query<{ week: string; bytes: number }>(
        `select partition_name as week, citus_total_relation_size(partition) as bytes from strata.week_info('balance_changes') order by 1`,
      );
      const rows = sizes.map((size) => ({ ...size, rows: 16 }));
      expect(rows.length).toBe(2);
      expect(rows.every(({ bytes }) => bytes > 0)).toBe(true);
      const weeks = await readWeeks(database.pool, 'balance_changes');
      const of = (name: string) => weeks.find((week) => week.name === name);
      for (const { week, bytes, rows: count } of rows) {
        expect(of(week)).toMatchObject({ total_bytes: bytes, rows: count });
        expect(of(week)?.index_bytes).toBeGreaterThan(0);
        expect(of(week)?.pages).toBeGreaterThan(0);
      }
      const sum = rows.reduce((total, { bytes }) => total + bytes, 0);
      expect(await readOverview(database.pool, ['balance_changes'], NOW)).toMatchObject([{ bytes: sum }]);
      const status = await readStatus(database.pool);
      expect(status.sets.find(({ set_name }) => set_name === 'balance_changes')?.bytes).toBe(sum);
      const map = await withClient(database.pool, async (client) =>
        drawMap(await readAtlas(client), await readSizes(client)),
      );
      expect(
        map.find(({ set }) => set === 'balance_changes')?.strata.filter(({ name }) => name !== ''),
      ).toMatchObject(rows.map(({ week, bytes, rows: count }) => ({ name: week, bytes, rows: count })));
    });

    test('stay as they are when twenty migrate at once', async () => {
      const before = await valueOf(
        database.pool,
        'select array_agg(shard_id order by shard_id)::text from strata.shards',
      );
      const all = await Promise.all(
        Array.from({ length: 20 }, () => migrate({ connectionString: database.url, topology: 'citus' })),
      );
      expect(all.every(({ applied, topology }) => applied.length === 0 && topology === 'citus')).toBe(true);
      expect(
        await valueOf(database.pool, 'select array_agg(shard_id order by shard_id)::text from strata.shards'),
      ).toBe(before);
      await expect(migrate({ connectionString: database.url, topology: 'single' })).rejects.toThrow(
        /lies on a cluster/,
      );
    });
  });

  describe('inside the shards', () => {
    test('what cannot be is refused with what to do instead', async () => {
      await expect(database.pool.query(`select strata.fold_week('2026-01-04')`)).rejects.toMatchObject({
        code: '0A000',
        hint: expect.stringContaining('pgstrata fold') as string,
      });
      await expect(foldWeek(database.pool, { week: new Date('2026-01-04') })).rejects.toMatchObject({
        code: '0A000',
        hint: expect.stringContaining('pgstrata fold') as string,
      });
    });

    test.each([
      ['a fold of what was loaded', () => `select strata.in_shards('fold_deltas', null, '-infinity', null)`],
      [
        'the staging of a fold',
        () => `insert into strata.balance_deltas select account_address, asset_id, date_bin('1 hour', block_time, '1970-01-01 00:00:00+00'), sum(delta), count(*)
                 from strata.balance_changes where source_id = 1 and block_num between 0 and 10 group by 1, 2, 3`,
      ],
      ['a rebuild', () => `select strata.in_shards('rebuild_balances', null, null, null, 'true')`],
      ['an as-of look-up', () => `select strata.balance_at(${ACCOUNT}, ${asset()}, '2026-01-06')`],
      [
        'an account’s history',
        () =>
          `select asset_id::text, "timestamp", balance from strata.account_balances where account_address = ${ACCOUNT} order by 2`,
      ],
      [
        'the holders',
        () => `select * from strata.in_shards_rows('balances_at', '2026-01-06', '${asset()}', null)`,
      ],
      [
        'the supply',
        () =>
          `select sum(balance) from strata.account_balances_current where asset_id = ${asset()} and balance > 0`,
      ],
      ['verify', () => `select problem from strata.verify_rows()`],
    ])('%s gathers nothing on the coordinator', async (_what, statement) => {
      await withClient(database.pool, async (client) => {
        expect(await gatheredBy(client, statement())).toEqual([]);
      });
    });

    test('a look-up by account goes to one of them', async () => {
      const { rows } = await database.pool.query<{ 'QUERY PLAN': string }>(
        `explain (costs off) select * from strata.account_balances where account_address = ${ACCOUNT} and asset_id = ${asset()}`,
      );
      const plan = rows.map((row) => row['QUERY PLAN']).join('\n');
      expect(plan).toMatch(/Task Count: 1\n/);
    });
  });
});
