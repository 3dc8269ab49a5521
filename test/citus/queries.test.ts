/** Every named query, asked of one server and of a cluster that hold the same history: the same rows; and which shards it went to. */
import { beforeAll, describe, expect, test } from 'vitest';
import type { Pool } from '../../src/db/query.ts';
import { QUERIES, QUERY_NAMES, type QueryName } from '../../src/warehouse/analytics/catalogue.ts';
import { explainQuery, runQuery } from '../../src/warehouse/analytics/run.ts';
import { touchedInWords } from '../../src/warehouse/analytics/touched.ts';
import { askedInWords } from '../../src/warehouse/analytics/touched-shards.ts';
import { drawHistory, instantOf, storeHistory, weekAt, WEEKS } from '../analytics/history.ts';
import { useDatabase } from '../database.ts';
import { openFolder } from '../cli/command.ts';
import { seed } from '../seed.ts';
import { onCluster, SHARDS } from './cluster.ts';

const single = process.env['CITUS_URL'] ? useDatabase() : null;

await onCluster('named queries', () => {
  const cluster = useDatabase();
  const history = drawHistory(seed());
  const [account] = history.accounts.slice(3);
  const span = { from: instantOf(weekAt(WEEKS.changes)), to: instantOf(weekAt(8)) };
  const given: Record<string, unknown> = {
    ...span,
    account,
    asset: 'coin',
    labels: 'kinds',
    column: 'kind',
    curve: [
      { usd: '0', multiplier: '0.5' },
      { usd: '1000', multiplier: '3' },
    ],
    bands: ['10', '100'],
    edges: ['1', '10', '100'],
  };
  const parametersOf = (name: QueryName): never => {
    const own = QUERIES[name].parameters.map(({ name: parameter }) => parameter as string);
    return Object.fromEntries(
      Object.entries(given).filter(([parameter]) => own.includes(parameter)),
    ) as never;
  };
  const rowsOf = async (pool: Pool, name: QueryName): Promise<string[]> =>
    (await Array.fromAsync(runQuery(pool, name, parametersOf(name))))
      .map((row) => JSON.stringify(row))
      .toSorted();

  beforeAll(async () => {
    console.info(`queries: PGSTRATA_SEED=${seed()}`);
    await storeHistory(single!.pool, history);
    await storeHistory(cluster.pool, history);
  }, 120_000);

  describe('a query', () => {
    test.each(QUERY_NAMES)('%s answers as one server does', async (name) => {
      const rows = await rowsOf(single!.pool, name);
      expect(rows.length).toBeGreaterThan(0);
      expect(await rowsOf(cluster.pool, name)).toEqual(rows);
    });

    test('of one account goes to its shard alone, and says so', async () => {
      const { partitions, shards } = await explainQuery(cluster.pool, 'history', {
        account: account!,
        asset: 'coin',
        from: instantOf(weekAt(6)),
      });
      expect(shards).toMatchObject({ asked: 1, shards: SHARDS, nodes: 1 });
      expect(askedInWords(shards!)).toBe(`1 of ${SHARDS} shards were asked, on 1 node`);
      const opened = partitions.filter(({ touched }) => touched > 0);
      expect(opened.length).toBeGreaterThan(0);
      expect(opened.every(({ touched, partitions: all }) => touched === 1 && all === SHARDS)).toBe(true);
      const early = partitions.filter(
        ({ relation, week }) => relation === 'balance_changes' && week !== null && week < '2026-02-01',
      );
      expect(early.length).toBeGreaterThan(0);
      expect(early.every(({ touched }) => touched === 0)).toBe(true);
    });

    test('of all accounts goes to every shard, in the weeks of its span', async () => {
      const { partitions, shards } = await explainQuery(cluster.pool, 'flows', {
        asset: 'coin',
        from: instantOf(weekAt(5)),
        to: instantOf(weekAt(6)),
      });
      expect(shards).toMatchObject({ asked: SHARDS, shards: SHARDS });
      expect(shards!.nodes).toBeGreaterThan(1);
      const weeks = partitions.filter(({ relation }) => relation === 'balance_changes').length;
      expect(touchedInWords(partitions)).toContain(
        `balance_changes: ${SHARDS} of ${weeks * SHARDS} shards: the week of 2026-02-08 (0 columnar, 1 by row); ${(weeks - 1) * SHARDS} shards pruned`,
      );
    });

    test('is explained by the command', async () => {
      const folder = await openFolder();
      try {
        const said = await folder.run(
          ['query', 'history', '--account', account!, '--asset', 'coin', '--from', '2026-02-15', '--explain'],
          { DATABASE_URL: cluster.url },
        );
        expect(said, said.stderr).toMatchObject({ code: 0 });
        expect(said.stdout).toContain(`1 of ${SHARDS} shards were asked, on 1 node`);
      } finally {
        await folder.remove();
      }
    });
  });
});
