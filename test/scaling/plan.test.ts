/** `pgstrata plan-topology` as people and scripts run it: as the reader, changing nothing, in text and in JSON. */
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createPool } from '../../src/db/pool.ts';
import { planTopology, type TopologyPlan } from '../../src/warehouse/scaling/read.ts';
import { jsonOf, openFolder, type Folder } from '../cli/command.ts';
import { useDatabase } from '../database.ts';

const database = useDatabase();
const visitor = `strata_visitor_${randomBytes(4).toString('hex')}`;
let folder: Folder;

const asVisitor = (): string => {
  const url = new URL(database.url);
  url.username = visitor;
  url.password = 'visits';
  return url.toString();
};

/** An account makes half of all rows. */
const HOT = '0x00000000000000000000000000000000000000aa';

beforeAll(async () => {
  folder = await openFolder();
  await database.pool.query(`create role ${visitor} login password 'visits'`);
  await database.pool.query(`grant strata_reader to ${visitor}`);
  await database.pool.query(
    `select strata.ensure_weeks('balance_changes', '2026-01-04 00:00+00', '2026-01-04 00:00+00')`,
  );
  await database.pool.query(`insert into strata.balance_changes
    select case when n % 2 = 0 then strata.account('${HOT}') else decode(md5(n::text) || '00000000', 'hex') end, 1,
           timestamptz '2026-01-04 00:00+00' + interval '1 minute' * n, n, 0, 1, n from generate_series(1, 4000) n`);
  await database.pool.query('analyze strata.balance_changes');
});
afterAll(async () => {
  await folder.remove();
  await database.pool.query(`drop role ${visitor}`);
});

const single = (plan: TopologyPlan): Extract<TopologyPlan, { topology: 'single' }> => {
  if (plan.topology !== 'single') throw new Error('there is no cluster here');
  return plan;
};

describe('plan-topology', () => {
  test('as a reader: the limits, the hot account, and the same answer in JSON', async () => {
    const environment = { DATABASE_URL: asVisitor() };
    const machine = ['--cores', '8', '--memory', '32GB', '--disk', '1.5TB'];
    const [text, json, wrong] = await Promise.all([
      folder.run(['plan-topology', ...machine], environment),
      folder.run(['plan-topology', '--json', ...machine], environment),
      folder.run(['plan-topology', '--memory', 'much'], environment),
    ]);
    expect(text).toMatchObject({ code: 0, stderr: '' });
    expect(text.stdout).toMatch(/^one machine is enough/);
    expect(text.stdout).toContain(`! ${HOT} makes 50.0 % of the rows`);
    expect(text.stdout).toContain('the way there: --steps');
    const plan = single(jsonOf(json) as TopologyPlan);
    expect(plan).toMatchObject({
      verdict: 'one machine',
      machine: { cores: 8, memory_bytes: 32e9, disk_bytes: 1.5e12 },
      growth: { rows_per_week: 4000 },
    });
    expect(plan.skew).toMatchObject({
      hot: true,
      sampled: 4000,
      accounts: 2001,
      top: [
        { account: HOT, rows: 2000 },
        ...Array.from({ length: 9 }, () => ({ account: expect.stringMatching(/^0x/) as string, rows: 1 })),
      ],
    });
    expect(plan.migration.length).toBeGreaterThan(10);
    expect(wrong).toMatchObject({ code: 2, stdout: '', stderr: expect.stringContaining('256GB') as string });
  });

  test('prints the way where one machine is not enough, without the password', async () => {
    const { code, stdout } = await folder.run(['plan-topology', '--disk', '1MB'], {
      DATABASE_URL: asVisitor(),
    });
    expect(code).toBe(0);
    expect(stdout).toMatch(/^one machine is not enough: in 52 weeks disk will be/);
    expect(stdout).toContain('select citus_add_node(');
    expect(stdout).toContain('for week in 2026-01-04; do');
    expect(stdout).not.toContain('visits');
  });

  test('reads an empty warehouse, too', async () => {
    const { url } = await database.createDatabase();
    const pool = createPool(url);
    try {
      const plan = single(
        await planTopology(
          pool,
          { cores: 2, memory_bytes: 8e9, disk_bytes: 1e11 },
          { now: new Date(), weeks: 52, times: 1 },
          'copy',
        ),
      );
      expect(plan).toMatchObject({
        verdict: 'one machine',
        skew: null,
        growth: { bytes_per_week: 0, rows_per_week: 0 },
      });
    } finally {
      await pool.end();
    }
  });
});
