/** `pgstrata demo`: the whole way from Flight to balances in one command. */
import { Command } from 'commander';
import { recreateDatabase } from '../../db/administer.ts';
import { migrate } from '../../db/migrate.ts';
import { createPool } from '../../db/pool.ts';
import { runDemo, type DemoReport } from '../../devnet/demo.ts';
import { runMaintenance } from '../../jobs/maintenance.ts';
import { listenForStop } from '../../runtime/lifecycle.ts';
import { createLogger } from '../../runtime/log.ts';
import type { PageServer } from '../../server/http.ts';
import { configOf, findDatabase, type GlobalOptions } from '../context.ts';
import { printResult, table } from '../output.ts';
import { showProgress } from '../ingest-progress.ts';
import { createProgress } from '../progress.ts';

import { PAGE_PORT, portNumber, servePage, stopped } from './serve.ts';

interface Options extends GlobalOptions {
  readonly serve?: boolean;
  readonly port: number;
}

/** The demo has a database of its own, made anew each time. */
const DEMO_DATABASE = 'pgstrata_demo';

/** What it reports, in tables that fit a terminal: loaded, verified, consolidated. */
const PARTS: readonly (readonly (keyof DemoReport)[])[] = [
  ['blocks', 'transfers', 'balance_changes', 'accounts', 'assets', 'weeks', 'seconds', 'rows_per_second'],
  ['reorgs', 'restarts', 'gaps', 'balances', 'state_rows', 'differences', 'nonzero_assets'],
  ['consolidated_weeks', 'partitions_before', 'partitions_after', 'bytes_before', 'bytes_after'],
];

/** The command. */
export const demoCommand = (): Command =>
  new Command('demo')
    .description(
      `Load a simulated chain into a fresh database (${DEMO_DATABASE}) by two workers, follow it through forks and a restart, consolidate its first weeks meanwhile, verify every balance and show some.`,
    )
    .option('--serve', 'show it on the status page meanwhile, and leave that running until stopped')
    .option('--port <port>', 'with --serve: port of the page, 0 for any', portNumber, PAGE_PORT)
    .addHelpText('after', '\nExample:\n  npm run demo -- --serve')
    .action(async (options: Options) => {
      const config = await configOf(options);
      const progress = createProgress(process.stderr, Date.now);
      const say = (text: string): void => progress.say(`• ${text}`);
      const lifecycle = listenForStop((signal) => say(`${signal}: stopping`));
      const server = await findDatabase(config, say);
      try {
        const connectionString = await recreateDatabase(server.url, DEMO_DATABASE);
        const settings = {
          allowPlaintext: config.database.allow_plaintext,
          synchronousCommit: 'off',
        } as const;
        const pool = createPool(connectionString, settings);
        let page: PageServer | null = null;
        try {
          // From its first moment on: the load and the consolidations can be watched.
          if (options.serve === true) {
            await migrate({ connectionString });
            await runMaintenance({ pool, verb: 'ensure', now: new Date(), signal: lifecycle.signal });
            page = await servePage(pool, { host: '127.0.0.1', port: options.port, token: null, secrets: [] });
            say(`watch it at ${page.url}`);
          }
          // What happens is told in words; log lines beside them are for who asks.
          const log = createLogger({ PGSTRATA_LOG: 'silent', ...process.env });
          const onEvent = showProgress(progress, log, { told: true });
          const { report, busiest } = await runDemo({
            pool,
            address: { url: connectionString, options: settings },
            signal: lifecycle.signal,
            say,
            onEvent,
          });
          progress.finish();
          const rows = busiest.map((line) => [line.account, line.asset, BigInt(line.balance), line.changes]);
          const text = [
            table(['account', 'asset', 'balance', 'changes'], rows),
            ...PARTS.map((part) => table(part, [part.map((name) => report[name])])),
          ].join('\n\n');
          printResult(options.json === true, report, text);
          if (page !== null) {
            say(`the page stays at ${page.url} until Ctrl-C; meanwhile the other old weeks settle there`);
            await runMaintenance({ pool, verb: 'consolidate', now: new Date(), signal: lifecycle.signal });
            await stopped(lifecycle.signal);
          }
        } finally {
          await page?.stop();
          await pool.end();
        }
      } finally {
        progress.finish();
        await server.release();
        lifecycle.dispose();
      }
    });
