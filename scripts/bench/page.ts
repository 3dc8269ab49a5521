/** How soon the status page has drawn a map of 500 weeks of four hash partitions, in a real browser. */
import { chromium, type Browser } from 'playwright-core';
import { createPool } from '../../src/db/pool.ts';
import type { Pool } from '../../src/db/query.ts';
import { migrate } from '../../src/db/migrate.ts';
import { startPageServer } from '../../src/server/http.ts';
import type { BenchOptions } from '../bench.ts';
import { withScratchServer } from '../scratch.ts';
import { median, result, type BenchResult } from './result.ts';

const WEEKS = 500;
const AT_ONCE = 50;
const BROWSER = '/usr/bin/chromium';

/** Yields milliseconds from the navigation to the first paint, and to the map; cold: the server's first viewer, warm: the next ones. */
export async function* pageBench({ runs, say }: BenchOptions): AsyncGenerator<BenchResult> {
  const paints: number[] = [];
  const maps: Record<'cold' | 'warm', number[]> = { cold: [], warm: [] };
  await withScratchServer(async (url) => {
    await migrate({ connectionString: url });
    const pool = createPool(url, { max: 4 });
    const browser = await chromium.launch({ executablePath: BROWSER, args: ['--no-sandbox'] });
    try {
      await makeWeeks(pool, say);
      for (let round = 1; round <= runs; round++) {
        const page = await startPageServer({
          pool,
          host: '127.0.0.1',
          port: 0,
          token: null,
          names: [],
          version: 'bench',
        });
        for (const state of ['cold', 'warm'] as const) {
          const seen = await look(browser, page.url);
          paints.push(seen.paint_ms);
          maps[state].push(seen.map_ms);
          say(`${state}: first paint ${Math.round(seen.paint_ms)} ms, map ${Math.round(seen.map_ms)} ms`);
        }
        await page.stop();
      }
    } finally {
      await browser.close();
      await pool.end();
    }
  });
  yield result('page', `first paint, ${WEEKS} weeks`, median(paints), 'ms', null);
  yield result('page', `map of ${WEEKS} weeks × 4, cold`, median(maps.cold), 'ms', null);
  yield result('page', `map of ${WEEKS} weeks × 4, warm`, median(maps.warm), 'ms', null);
}

const makeWeeks = async (pool: Pool, say: (text: string) => void): Promise<void> => {
  for (let from = WEEKS; from > 0; from -= AT_ONCE) {
    await pool.query(
      `select count(*) from strata.ensure_weeks('balance_changes', now() - interval '7 days' * $1::int, now() - interval '7 days' * $2::int)`,
      [from - 1, Math.max(0, from - AT_ONCE)],
    );
    say(`${WEEKS - Math.max(0, from - AT_ONCE)} of ${WEEKS} weeks are made`);
  }
};

const look = async (browser: Browser, url: string): Promise<{ paint_ms: number; map_ms: number }> => {
  const page = await browser.newPage({ viewport: { width: 1600, height: 1000 } });
  await page.goto(url);
  await page.locator('html[data-painted]').waitFor();
  const times = await page.evaluate(
    `({ paint_ms: performance.getEntriesByName('first-contentful-paint')[0].startTime, map_ms: Number(document.documentElement.dataset.painted) })`,
  );
  await page.close();
  return times as { paint_ms: number; map_ms: number };
};
