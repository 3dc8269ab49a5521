/** The demo: one command from nothing to balances, with the JSON line that is promised. */
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { sectionOf } from '../../scripts/marked-sections.ts';
import { README_FILE } from '../../scripts/readme-tables.ts';
import { table } from '../../src/cli/output.ts';
import { dropDatabase } from '../../src/db/administer.ts';
import { createPool } from '../../src/db/pool.ts';
import { busiestBalances } from '../../src/warehouse/summary.ts';
import { databaseUrl } from '../postgres.ts';
import { jsonOf, openFolder } from './command.ts';
import type { Folder } from './command.ts';

let folder: Folder;
beforeAll(async () => {
  folder = await openFolder();
});
afterAll(async () => {
  await folder.remove();
  await dropDatabase(inject('ownerUrl'), 'pgstrata_demo');
});

test('loads a simulated chain into a fresh database and tells what it loaded, as README.md shows it', async () => {
  const stays = Promise.withResolvers<string | undefined>();
  const running = folder.start(
    ['demo', '--json', '--serve', '--port', '0'],
    { DATABASE_URL: databaseUrl(inject('ownerUrl'), inject('templateDatabase')) },
    (line) => {
      const address = /the page stays at (?<url>http:\S+)/.exec(line)?.groups?.['url'];
      if (address !== undefined) stays.resolve(address);
    },
  );
  void running.finished.then(() => stays.resolve(undefined));
  // It leaves its page running, with what it has loaded to be seen there, until it is stopped.
  const url = await stays.promise;
  if (url !== undefined)
    expect(await (await fetch(`${url}metrics`)).text()).toMatch(
      /^pgstrata_consolidations\{.*step="swapped"\} [5-9]$/m,
    );
  running.child.kill('SIGTERM');
  const finished = await running.finished;
  expect(finished.code, finished.stderr).toBe(0);
  expect(url).toBeDefined();
  const report = jsonOf(finished) as Record<string, number>;
  expect(Object.keys(report).toSorted()).toEqual([
    'accounts',
    'assets',
    'balance_changes',
    'balances',
    'blocks',
    'bytes_after',
    'bytes_before',
    'consolidated_weeks',
    'differences',
    'gaps',
    'nonzero_assets',
    'partitions_after',
    'partitions_before',
    'reorgs',
    'restarts',
    'rows_per_second',
    'seconds',
    'state_rows',
    'transfers',
    'weeks',
  ]);
  expect(report).toMatchObject({ blocks: 14_400, assets: 20, nonzero_assets: 0, differences: 0 });
  expect(report).toMatchObject({ reorgs: 3, restarts: 1, gaps: 0 });
  expect(report).toMatchObject({ consolidated_weeks: 10, partitions_before: 40, partitions_after: 10 });
  expect(report['bytes_after']).toBeLessThan(report['bytes_before'] ?? 0);
  expect(report['balance_changes']).toBe(2 * (report['transfers'] ?? 0));
  expect(report['weeks']).toBeGreaterThan(12);
  expect(report['accounts']).toBeGreaterThan(4000);
  expect(report['state_rows']).toBeGreaterThan(10_000);
  expect(report['balances']).toBeGreaterThan(report['state_rows'] ?? 0);
  expect(report['seconds']).toBeGreaterThan(0);
  expect(report['rows_per_second']).toBeGreaterThan(0);

  const shown = sectionOf(readFileSync(README_FILE, 'utf8'), 'demo');
  const varying = new Set(['seconds', 'rows_per_second', 'bytes_before', 'bytes_after']);
  for (const [name, count] of Object.entries(report))
    if (!varying.has(name)) expect(shown, 'run `npm run readme`').toContain(count.toLocaleString('en'));
  const pool = createPool(databaseUrl(inject('ownerUrl'), 'pgstrata_demo'));
  const busiest = await busiestBalances(pool, 8);
  await pool.end();
  const rows = busiest.map((line) => [line.account, line.asset, BigInt(line.balance), line.changes]);
  expect(shown).toContain(table(['account', 'asset', 'balance', 'changes'], rows));
}, 240_000);
