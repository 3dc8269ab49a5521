/** The client of the ingest benchmark, in a process of its own so that its memory can be measured: prints one JSON line. */
import { readFileSync } from 'node:fs';
import { createPool } from '../../src/db/pool.ts';
import { connectFlight } from '../../src/flight/client.ts';
import { ingest } from '../../src/jobs/ingest.ts';
import { parseConfig } from '../../src/runtime/config.ts';

/** What the client is told, as one JSON argument. */
export interface ClientTask {
  readonly database: string;
  readonly stream: string;
  /** The policy file. */
  readonly policy: string;
  /** Load blocks up to here, exclusive; all of them. */
  readonly to?: number;
}

/** What it answers. */
export interface ClientReport {
  readonly rows: number;
  readonly seconds: number;
  readonly peak_rss_mb: number;
  readonly cpu_s: number;
}

/** Peak of this process alone: getrusage() would count the parent's memory at the fork, too. */
const peakRss = (): number => {
  const status = readFileSync('/proc/self/status', 'utf8');
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1] ?? Number.NaN) / 1024;
};

if (import.meta.main) {
  const task = JSON.parse(process.argv[2] ?? '{}') as ClientTask;
  const config = parseConfig(task.policy, {});
  const settings = config.streams[task.stream]!;
  const pool = createPool(task.database, { synchronousCommit: 'off' });
  const client = connectFlight({ url: config.servers[settings.server]!.url });
  await pool.query('select 1');
  const started = performance.now();
  const { rows } = await ingest({
    pool,
    client,
    stream: task.stream,
    config: settings,
    serverKind: 'amp',
    window: { from: null, to: task.to ?? null },
    follow: false,
    signal: new AbortController().signal,
    now: new Date(),
    onEvent: () => undefined,
  });
  const seconds = (performance.now() - started) / 1000;
  const { userCPUTime, systemCPUTime } = process.resourceUsage();
  const report: ClientReport = {
    rows,
    seconds,
    peak_rss_mb: peakRss(),
    cpu_s: (userCPUTime + systemCPUTime) / 1e6,
  };
  process.stdout.write(`${JSON.stringify(report)}\n`);
  client.close();
  await pool.end();
}
