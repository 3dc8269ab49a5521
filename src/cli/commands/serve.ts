/** `pgstrata serve`: the status page, its metrics and its probes, until stopped. */
import { readFile } from 'node:fs/promises';
import { Command, InvalidArgumentError } from 'commander';
import type { Pool } from '../../db/query.ts';
import { WarehouseError } from '../../runtime/errors.ts';
import { listenForStop } from '../../runtime/lifecycle.ts';
import { createLogger } from '../../runtime/log.ts';
import { startPageServer, type PageServer } from '../../server/http.ts';
import { configOf, secretsOf, withDatabase, type GlobalOptions } from '../context.ts';
import { errorAsJson, printResult, redactRecord } from '../output.ts';
import { VERSION } from '../version.ts';

interface Options extends GlobalOptions {
  readonly host: string;
  readonly port: number;
  readonly tokenFile?: string;
  readonly allowHost?: readonly string[];
}

/** A TCP port of the command line. */
export const portNumber = (text: string): number => {
  const port = Number(text);
  if (!/^\d{1,5}$/.test(text) || port > 65_535) throw new InvalidArgumentError('must be a port, 0 to 65535.');
  return port;
};

/** Where the page listens unless it is told otherwise. */
export const PAGE_PORT = 8432;

/** What is read is shared by all who look: that takes few connections. */
const PAGE_POOL = {
  maxConnections: 4,
  pool: { applicationName: 'pgstrata serve' },
} as const;

const HELP = `
It only reads: as the role strata_reader where the user of DATABASE_URL is a member of it. On this machine it needs no token; to
listen elsewhere it does, and a browser is asked for it. /health and /ready answer probes, /metrics answers Prometheus.

Environment:
  PGSTRATA_TOKEN   the token, at least 16 characters; --token-file comes first

Example:
  pgstrata serve
  pgstrata serve --host 0.0.0.0 --token-file /run/secrets/page --allow-host status.example.com`;

/** The command. */
export const serveCommand = (): Command =>
  new Command('serve')
    .description('Serve the status page, /metrics, /health and /ready over HTTP, until stopped.')
    .option('--host <address>', 'address to listen on', '127.0.0.1')
    .option('--port <port>', 'port to listen on, 0 for any', portNumber, PAGE_PORT)
    .option('--token-file <file>', 'file with the token that has to be shown')
    .option('--allow-host <name...>', 'names that the page may be called by, besides localhost and addresses')
    .addHelpText('after', HELP)
    .action(async (options: Options) => {
      const config = await configOf(options);
      const token = await tokenOf(options);
      const lifecycle = listenForStop((signal) => process.stderr.write(`${signal}: stopping\n`));
      try {
        await withDatabase(
          config,
          async (pool) => {
            const secrets = [...secretsOf(config), ...(token === null ? [] : [token])];
            const page = await servePage(pool, { ...options, token, secrets });
            printResult(options.json === true, { url: page.url, role: page.role }, page.url);
            if (page.advice !== null) createLogger(process.env).warn(page.advice);
            await stopped(lifecycle.signal);
            await page.stop();
          },
          PAGE_POOL,
        );
      } finally {
        lifecycle.dispose();
      }
    });

/** Starts the page's server on a pool; what goes wrong later is said in the log. */
export const servePage = (
  pool: Pool,
  options: Pick<Options, 'host' | 'port' | 'allowHost'> & {
    readonly token: string | null;
    readonly secrets: readonly string[];
  },
): Promise<PageServer> => {
  const log = createLogger(process.env);
  return startPageServer({
    pool,
    host: options.host,
    port: options.port,
    token: options.token,
    names: (options.allowHost ?? []).map((name) => name.toLowerCase()),
    version: VERSION,
    onError: (error, path) =>
      log.warn({ path, ...redactRecord(errorAsJson(error), options.secrets) }, 'not answered'),
  });
};

/** The token of the file, else of the environment; null where there is neither. */
const tokenOf = async ({ tokenFile }: Options): Promise<string | null> => {
  if (tokenFile === undefined) return process.env['PGSTRATA_TOKEN'] || null;
  const text = await readFile(tokenFile, 'utf8').catch((cause: unknown) => {
    throw new WarehouseError('config', 'the token file cannot be read', { file: tokenFile }, cause);
  });
  if (text.trim() === '') throw new WarehouseError('config', 'the token file is empty', { file: tokenFile });
  return text.trim();
};

/** Waits until asked to stop. */
export const stopped = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
