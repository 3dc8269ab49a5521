/** The page in a real browser: it shows a consolidation happen, its numbers are SQL's, and everybody can use it. */
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { chromium, type Browser, type Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { createPool } from '../../src/db/pool.ts';
import { runMaintenance } from '../../src/jobs/maintenance.ts';
import type { PageServer } from '../../src/server/http.ts';
import { useDatabase } from '../database.ts';
import { databaseUrl } from '../postgres.ts';
import { loadWarehouse, servePage } from './warehouse.ts';

const BROWSER = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find((file) =>
  existsSync(file),
);
if (BROWSER === undefined)
  process.stderr.write(
    'LEFT OUT: the status page was not looked at in a browser: there is no chromium in /usr/bin\n',
  );

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const PATIENCE_MS = 20_000;

describe.runIf(BROWSER !== undefined)('the page', () => {
  const database = useDatabase();
  let server: PageServer;
  let browser: Browser;
  let page: Page;
  const complaints: string[] = [];

  beforeAll(async () => {
    await loadWarehouse(database.pool);
    server = await servePage(database.pool);
    browser = await chromium.launch({ executablePath: BROWSER!, args: ['--no-sandbox'] });
    page = await browser.newPage({ viewport: { width: 1600, height: 1000 }, reducedMotion: 'reduce' });
    page.setDefaultTimeout(PATIENCE_MS);
    page.on('console', (message) => {
      if (['error', 'warning'].includes(message.type())) complaints.push(message.text());
    });
    page.on('pageerror', (error) => complaints.push(error.message));
    page.on('response', (response) => {
      if (response.status() >= 400) complaints.push(`${response.status()} ${response.url()}`);
    });
    await page.goto(server.url);
  });
  afterAll(async () => {
    await browser?.close();
    await server?.stop();
    expect(complaints).toEqual([]);
  });

  /** Serious and critical faults that axe finds in what is shown now. */
  const faults = async (): Promise<string[]> => {
    await page.evaluate(AXE);
    return page.evaluate(async () => {
      const { axe } = globalThis as unknown as {
        axe: { run(): Promise<{ violations: { id: string; impact: string; nodes: { html: string }[] }[] }> };
      };
      const { violations } = await axe.run();
      return violations
        .filter(({ impact }) => impact === 'serious' || impact === 'critical')
        .map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 160)).join(' ')}`);
    });
  };

  test('shows a consolidation happen', async () => {
    const week = page.locator('#map .week').first();
    await page.locator('#sets label', { hasText: 'balance_changes' }).click();
    await page.locator('#map .week[data-key$="balance_changes_2026_01_04"][data-state="closed"]').waitFor();
    expect(await week.locator('i').count()).toBe(4);
    // A writer of that week holds it up, so that it can be seen under way.
    const writer = await database.pool.connect();
    await writer.query('begin; lock table strata.balance_changes_2026_01_04 in row exclusive mode');
    const running = runMaintenance({
      pool: database.pool,
      verb: 'consolidate',
      sets: ['balance_changes'],
      now: new Date(),
      batch: 1,
      signal: new AbortController().signal,
    });
    await page.locator('#map .week[data-state="consolidating"]').waitFor();
    await writer.query('commit');
    writer.release();
    const [run] = await running;
    expect(run?.outcome).toBe('done');
    await page.locator('#map .week[data-state="consolidated"]').waitFor();
    expect(await week.locator('i').count()).toBe(1);
    expect(await week.getAttribute('aria-label')).toMatch(/^Week of 2026-01-04: consolidated/);
    await week.focus();
    const detail = page.locator('#detail');
    const proof = await database.pool.query<{ hash: string }>(
      `select proof -> 'forward' ->> 'hash' as hash from strata.consolidations`,
    );
    await detail.getByText(proof.rows[0]?.hash ?? '').waitFor();
    await page.locator('.runs summary', { hasText: 'consolidate' }).click();
    await page.locator('.runs .body').getByText('One short transaction').first().waitFor();
  });

  test('lets arrow keys walk the weeks', async () => {
    await page.locator('#map .week').first().focus();
    await page.keyboard.press('ArrowRight');
    await page.keyboard.press('ArrowRight');
    await page.locator('#detail h3', { hasText: 'Week of 2026-01-18' }).waitFor();
    await page.keyboard.press('Home');
    await page.locator('#detail h3', { hasText: 'Week of 2026-01-04' }).waitFor();
  });

  test('gives the numbers that SQL gives', async () => {
    const { rows } = await database.pool.query<{
      account: string;
      asset: string;
      amount: string;
      then: string;
    }>(
      `select b.account, b.asset_id::text as asset, b.balance::text as amount,
              strata.balance_at(b.account_address, b.asset_id, '2026-01-13 06:00:30+00')::text as then
         from strata.balances_current b join strata.account_balances h using (account_address, asset_id)
        group by b.account, b.asset_id, b.balance, b.account_address order by count(*) desc, 1, 2 limit 1`,
    );
    const { account, asset, amount, then } = rows[0]!;
    expect(then).not.toBe(amount);
    await page.getByLabel('Account', { exact: true }).fill(account);
    await page.getByRole('button', { name: 'Show balances' }).click();
    const row = page.locator(`#holdings tr[data-asset="${asset}"]`);
    await row.locator(`[data-exact="${amount}"]`).waitFor();
    await row.getByRole('button').click();
    await page.locator('#history canvas').waitFor();
    await page.locator(`#asof-value[data-exact="${amount}"]`).waitFor();
    await page.getByLabel('As of (UTC)').fill('2026-01-13T06:00:30');
    await page.locator(`#asof-value[data-exact="${then}"]`).waitFor();
    await page.locator('#holders table').waitFor();
    await page.locator('#concentration canvas').waitFor();
  });

  test('shows how far a history is, and what each worker is at', async () => {
    const catchUp = {
      network: 'devnet',
      done: 30_000,
      total: 40_000,
      workers: [
        { worker: 1, from: 30_000, to: 31_000 },
        { worker: 2, from: 31_000, to: 32_000 },
      ],
    };
    await database.pool.query(
      `insert into strata.stream_health (stream, state, heads, started_at, host, pid, catch_up)
       values ('transfers', 'running', '{"devnet": 40000}', now(), 'h', 1, $1)`,
      [JSON.stringify(catchUp)],
    );
    const streams = page.locator('#stream-list');
    await streams.getByText('History: 75.0 %, 30,000 of 40,000 blocks').waitFor();
    await streams.getByText('Worker 2: blocks 31,000 to 31,999').waitFor();
    expect(await streams.getByRole('progressbar').getAttribute('aria-label')).toBe('History of transfers');
  });

  test.runIf(database.topology === 'single')('shows history that is loaded beside the set', async () => {
    const { rows } = await database.pool.query<{ week: string }>(
      `select week::text from strata.open_backfill_weeks('{2026-03-01}', now(), 1) week`,
    );
    expect(rows).toHaveLength(1);
    const week = page.locator('#map .week[data-state="loading"]');
    await week.waitFor();
    expect(await week.getAttribute('aria-label')).toMatch(
      /^Week of 2026-03-01: loading \(building\), 4 partitions/,
    );
    await page.locator('#legend', { hasText: 'not reached' }).waitFor();
  });

  test('asks whether an account is whole that nobody knows', async () => {
    await page.getByLabel('Account', { exact: true }).fill('0x418d');
    await page.getByRole('button', { name: 'Show balances' }).click();
    await page.locator('#holdings').getByText('It has 4 hex digits, an address has 40').waitFor();
  });

  test('does not say that all is well when the database is away, and says so when it is back', async () => {
    const { rows } = await database.pool.query<{ name: string }>('select current_database() as name');
    const admin = createPool(databaseUrl(inject('ownerUrl'), 'postgres'));
    const allow = (is: boolean): Promise<unknown> =>
      admin.query(`alter database ${rows[0]!.name} allow_connections ${is}`);
    await page.locator('#verdict').waitFor();
    await allow(false);
    await admin.query(`select pg_terminate_backend(pid) from pg_stat_activity where datname = $1`, [
      rows[0]!.name,
    ]);
    await page.locator('#trouble').waitFor();
    expect(await page.locator('#verdict').isVisible()).toBe(false);
    expect(await page.locator('#live').textContent()).toBe('no database');
    expect(await page.title()).toMatch(/^✗ no database · /);
    await allow(true);
    await page.locator('#live[data-state="live"]').waitFor();
    await page.locator('#verdict').waitFor();
    expect(await page.title()).toMatch(/^! \d+ warnings? · /);
    await admin.end();
  });

  test('has no serious fault for those who do not see, or see otherwise', async () => {
    expect(await faults()).toEqual([]);
    await page.emulateMedia({ colorScheme: 'dark', reducedMotion: 'reduce' });
    await page.setViewportSize({ width: 400, height: 900 });
    expect(await faults()).toEqual([]);
    expect(await page.evaluate('document.documentElement.scrollWidth - innerWidth')).toBeLessThanOrEqual(0);
  });
});
