/** What `pgstrata query` takes to hand over ten million rows: its own peak memory, and rows a second. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { setTimeout as wait } from 'node:timers/promises';
import { createPool } from '../../src/db/pool.ts';
import { migrate } from '../../src/db/migrate.ts';
import type { BenchOptions } from '../bench.ts';
import { withScratchServer } from '../scratch.ts';
import { result, type BenchResult } from './result.ts';

const MAIN = fileURLToPath(new URL('../../src/cli/bin.ts', import.meta.url));
const ROWS = 10_000_000;
/** What a process may take, in megabytes. */
const LIMIT_MB = 200;
const POLL_MS = 100;
const BYTES_PER_MB = 1e6;

/** The cases `stream csv` and `stream arrow`: the function answers with a series, and all behind it is as always. */
export const streamCases = async ({ only, say }: BenchOptions): Promise<BenchResult[]> => {
  const results: BenchResult[] = [];
  await withScratchServer(async (url) => {
    await migrate({ connectionString: url });
    const pool = createPool(url);
    await pool.query(`create or replace function strata.balances_at(instant timestamptz default null, asset bigint default null, account bytea default null)
      returns table (account_address bytea, asset_id bigint, balance numeric) language plpgsql stable set search_path = pg_catalog, pg_temp as
      'begin return query select decode(repeat(lpad(to_hex(n), 8, ''0''), 5), ''hex''), n * 922337203685::bigint, n * 1000000007.000001 from generate_series(1, ${ROWS}) n; end'`);
    for (const format of ['csv', 'arrow']) {
      if (!`stream ${format}`.includes(only) && !only.startsWith('stream')) continue;
      const { peakMb, seconds, bytes } = await runOnce(url, format);
      say(
        `${format}: ${ROWS} rows, ${Math.round(bytes / BYTES_PER_MB)} MB in ${seconds.toFixed(1)} s, peak ${Math.round(peakMb)} MB`,
      );
      results.push(
        result('queries', `stream ${format}, peak memory of 10 M rows`, peakMb, 'MB', LIMIT_MB),
        result('queries', `stream ${format}, rows a second`, ROWS / seconds, 'rows/s', null),
      );
    }
    await pool.end();
  });
  return results;
};

interface Streamed {
  readonly peakMb: number;
  readonly seconds: number;
  readonly bytes: number;
}

const runOnce = async (url: string, format: string): Promise<Streamed> => {
  const started = performance.now();
  const child = spawn(
    process.execPath,
    [MAIN, 'query', 'balances', '--format', format, '--timeout', '3600'],
    {
      env: { ...process.env, DATABASE_URL: url },
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  );
  let bytes = 0;
  child.stdout.on('data', (piece: Buffer) => {
    bytes += piece.length;
  });
  const closed = once(child, 'close');
  let peakKb = 0;
  while (child.exitCode === null) {
    const status = await readFile(`/proc/${child.pid}/status`, 'utf8').catch(() => '');
    peakKb = Math.max(peakKb, Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1] ?? 0));
    await wait(POLL_MS);
  }
  await closed;
  if (child.exitCode !== 0) throw new Error(`pgstrata query ended with ${child.exitCode}`);
  return { peakMb: (peakKb * 1024) / BYTES_PER_MB, seconds: (performance.now() - started) / 1000, bytes };
};
