/**
 * The status page's server: a handful of paths on node:http. It reads only; it listens on this machine alone unless there is a
 * token, and every answer says what a browser may do with it.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { asWarehouseError } from '../db/errors.ts';
import type { Pool } from '../db/query.ts';
import { createReader } from '../db/reader.ts';
import { WarehouseError } from '../runtime/errors.ts';
import { readWhere } from '../warehouse/page/journal.ts';
import {
  COOKIE,
  isAdmitted,
  isAllowedHost,
  isLoopback,
  isSameSecret,
  openSession,
  SESSION_SECONDS,
  TOKEN_LENGTH_MIN,
} from './access.ts';
import { createAnswers } from './answers.ts';
import { createBoard } from './board.ts';
import { createCell } from './cell.ts';
import { readPageFiles, type PageFile } from './files.ts';
import { createMetrics } from './metrics.ts';
import { createViewers } from './viewers.ts';

/** How to serve the page. */
export interface PageOptions {
  /** Connections to read with: few are enough, since what is read is shared. The server does not end it. */
  readonly pool: Pool;
  /** Address to listen on; anything but this machine's own needs a token. */
  readonly host: string;
  /** 0 for any. */
  readonly port: number;
  /** What has to be shown to be answered; null for nothing. */
  readonly token: string | null;
  /** Names, besides `localhost` and any address, that requests may call us by. */
  readonly names: readonly string[];
  readonly version: string;
  /** How old what is shown may be, in milliseconds; 2000. */
  readonly refresh_ms?: number;
  /** Told of each answer that was an error of ours. */
  readonly onError?: (error: WarehouseError, path: string) => void;
}

/** A server that listens. */
export interface PageServer {
  readonly url: string;
  /** The role it reads as; null where it reads as its user, for `advice`. */
  readonly role: string | null;
  /** Why it reads as its own user; null where it reads as the role. */
  readonly advice: string | null;
  /** Answers what was asked, ends the viewers' streams and closes. */
  stop(): Promise<void>;
}

/** What a browser may do with anything we send: load our own files, and nothing else. */
const HEADERS: Readonly<Record<string, string>> = {
  'content-security-policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'referrer-policy': 'no-referrer',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'permissions-policy': 'camera=(), geolocation=(), microphone=()',
  'cache-control': 'no-store',
};

const HEADER_BYTES_MAX = 8192;
const BODY_BYTES_MAX = 4096;
const URL_LENGTH_MAX = 2048;
const CONNECTIONS_MAX = 512;
/** Time for a request to arrive. */
const REQUEST_LIMIT_MS = 10_000;
/** Requests that may wait for the database at a time. */
const WAITING_MAX = 32;
/** How long a database that has answered a probe is believed to be there. */
const READY_FRESH_MS = 500;
/** Time that answers in hand get when the server is stopped. */
const STOP_LIMIT_MS = 5000;

const JSON_TYPE = 'application/json; charset=utf-8';
const TEXT_TYPE = 'text/plain; charset=utf-8';

/** Paths that are answered without the token: they tell a probe, or somebody who has no cookie yet, nothing. */
const OPEN: ReadonlySet<string> = new Set(['/health', '/ready', '/login', '/page.css', '/icon.svg']);

/**
 * Starts the server.
 *
 * @throws WarehouseError `config` without the token that listening elsewhere needs; `conflict` when the port is taken;
 *   whatever the database said when it was asked for its role
 */
export const startPageServer = async (options: PageOptions): Promise<PageServer> => {
  requireToken(options);
  const reader = createReader(options.pool);
  const role = await reader.role();
  const advice = await reader.advice();
  const board = createBoard(reader, options.refresh_ms);
  const where = createCell(() => reader.read(readWhere), READY_FRESH_MS);
  const site: Site = {
    ...options,
    files: await readPageFiles(),
    viewers: createViewers(board),
    answers: createAnswers(reader),
    metrics: createMetrics({ reader, board, pool: options.pool, version: options.version }),
    isReady: () =>
      where.get().then(
        () => true,
        () => false,
      ),
    about: async () => ({ version: options.version, role, advice, ...(await where.get()) }),
    waiting: 0,
  };
  const server = createServer({
    maxHeaderSize: HEADER_BYTES_MAX,
    requestTimeout: REQUEST_LIMIT_MS,
    headersTimeout: REQUEST_LIMIT_MS,
  });
  server.maxConnections = CONNECTIONS_MAX;
  server.on('request', (request, response) => void handle(site, request, response));
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => reject(cannotListen(error, options)));
    server.listen(options.port, options.host, resolve);
  });
  // The first to look finds it drawn; what fails now is told to whoever looks.
  board.sections.map.get().catch(() => undefined);
  const { port } = server.address() as AddressInfo;
  const shown = options.host.includes(':') ? `[${options.host}]` : options.host;
  return {
    url: `http://${shown}:${port}/`,
    role,
    advice,
    stop: async () => {
      const closed = new Promise<void>((resolve) => {
        server.close(() => resolve());
      });
      site.viewers.close();
      board.close();
      server.closeIdleConnections();
      const late = setTimeout(() => server.closeAllConnections(), STOP_LIMIT_MS);
      await closed;
      clearTimeout(late);
    },
  };
};

const requireToken = ({ host, token }: PageOptions): void => {
  if (token === null && !isLoopback(host)) {
    throw new WarehouseError('config', `listening on ${host} needs a token`, {
      remedy: 'Give --token-file or PGSTRATA_TOKEN, or listen on 127.0.0.1.',
    });
  }
  if (token !== null && token.length < TOKEN_LENGTH_MIN) {
    throw new WarehouseError('config', `the token is shorter than ${TOKEN_LENGTH_MIN} characters`, {
      remedy: 'Make one by `openssl rand -hex 32`.',
    });
  }
};

const cannotListen = (error: NodeJS.ErrnoException, { host, port }: PageOptions): WarehouseError =>
  error.code === 'EADDRINUSE'
    ? new WarehouseError(
        'conflict',
        `port ${port} of ${host} is taken`,
        { remedy: 'Choose another by --port.' },
        error,
      )
    : new WarehouseError('config', `cannot listen on ${host}:${port}: ${error.message}`, {}, error);

/** All that answering needs. */
interface Site extends PageOptions {
  readonly files: ReadonlyMap<string, PageFile>;
  readonly viewers: ReturnType<typeof createViewers>;
  readonly answers: ReturnType<typeof createAnswers>;
  readonly metrics: ReturnType<typeof createMetrics>;
  readonly isReady: () => Promise<boolean>;
  readonly about: () => Promise<unknown>;
  waiting: number;
}

const send = (response: ServerResponse, status: number, type: string, body: string | Buffer): void => {
  response.writeHead(status, { 'content-type': type }).end(response.req.method === 'HEAD' ? undefined : body);
};

const sendJson = (response: ServerResponse, status: number, value: unknown): void =>
  send(response, status, JSON_TYPE, JSON.stringify(value));

const handle = async (site: Site, request: IncomingMessage, response: ServerResponse): Promise<void> => {
  for (const [name, value] of Object.entries(HEADERS)) response.setHeader(name, value);
  const target = request.url ?? '/';
  const url =
    target.length <= URL_LENGTH_MAX && target.startsWith('/') ? new URL(target, 'http://page') : null;
  try {
    if (url === null) return sendJson(response, 400, { error: 'the address is too long, or none' });
    if (!isAllowedHost(request.headers.host, site.names))
      return sendJson(response, 421, {
        error: 'this server is not called by that name',
        remedy: 'Allow the name by --allow-host.',
      });
    if (url.pathname === '/login' && request.method === 'POST') return await login(site, request, response);
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      response.setHeader('allow', 'GET, HEAD');
      return sendJson(response, 405, { error: 'only GET is answered here' });
    }
    const { authorization, cookie } = request.headers;
    if (!OPEN.has(url.pathname) && !isAdmitted({ authorization, cookie }, site.token, new Date()))
      return refuse(url, response);
    await answer(site, url, request, response);
  } catch (thrown) {
    fail(site, url?.pathname ?? '', response, asWarehouseError(thrown));
  }
};

/** People are led to where they can show the token; programs are told. */
const refuse = (url: URL, response: ServerResponse): void => {
  if (url.pathname === '/') response.writeHead(303, { location: '/login' }).end();
  else {
    response.setHeader('www-authenticate', 'Bearer realm="pgstrata"');
    sendJson(response, 401, {
      error: 'the token is missing or wrong',
      remedy: 'Send it as authorization: Bearer, or open / in a browser.',
    });
  }
};

const answer = async (
  site: Site,
  url: URL,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> => {
  const { pathname } = url;
  const file = site.files.get(pathname);
  if (file !== undefined) return sendFile(file, request, response);
  if (pathname === '/health') return send(response, 200, TEXT_TYPE, 'ok\n');
  if (pathname === '/ready') {
    const ready = await site.isReady();
    return send(response, ready ? 200 : 503, TEXT_TYPE, ready ? 'ready\n' : 'the database does not answer\n');
  }
  if (pathname === '/metrics')
    return send(response, 200, site.metrics.contentType, await site.metrics.scrape());
  if (pathname === '/api/about') return sendJson(response, 200, await site.about());
  if (pathname === '/events' && request.method === 'GET') {
    if (!site.viewers.open(response)) sendBusy(response);
    return;
  }
  const question = site.answers[pathname];
  if (question === undefined) return sendJson(response, 404, { error: 'there is nothing here' });
  if (site.waiting >= WAITING_MAX) return sendBusy(response);
  site.waiting++;
  try {
    sendJson(response, 200, await question(url.searchParams));
  } finally {
    site.waiting--;
  }
};

const sendBusy = (response: ServerResponse): void => {
  response.setHeader('retry-after', '2');
  sendJson(response, 503, { error: 'too many ask at once', remedy: 'Try again in a moment.' });
};

const sendFile = (file: PageFile, request: IncomingMessage, response: ServerResponse): void => {
  response.setHeader('cache-control', 'no-cache');
  response.setHeader('etag', file.etag);
  response.setHeader('vary', 'accept-encoding');
  if (request.headers['if-none-match'] === file.etag) {
    response.writeHead(304).end();
    return;
  }
  const zipped = /\bgzip\b/.test(request.headers['accept-encoding']?.toString() ?? '');
  if (zipped) response.setHeader('content-encoding', 'gzip');
  send(response, 200, file.type, zipped ? file.gzipped : file.plain);
};

/** Takes the token from a form, and gives a cookie that stands for it. */
const login = async (site: Site, request: IncomingMessage, response: ServerResponse): Promise<void> => {
  const from = request.headers['sec-fetch-site'];
  if (from !== undefined && from !== 'same-origin' && from !== 'none')
    return sendJson(response, 403, { error: 'the form of another site' });
  const body = await readBody(request);
  if (body === null) return sendJson(response, 413, { error: 'that is no token' });
  const given = new URLSearchParams(body).get('token')?.trim() ?? '';
  if (site.token === null) response.writeHead(303, { location: '/' }).end();
  else if (isSameSecret(given, site.token)) {
    const secure = request.headers['x-forwarded-proto'] === 'https' ? '; Secure' : '';
    const cookie = `${COOKIE}=${openSession(site.token, new Date())}; Path=/; Max-Age=${SESSION_SECONDS}; HttpOnly; SameSite=Strict${secure}`;
    response.writeHead(303, { location: '/', 'set-cookie': cookie }).end();
  } else response.writeHead(303, { location: '/login#refused' }).end();
};

const readBody = async (request: IncomingMessage): Promise<string | null> => {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > BODY_BYTES_MAX) return null;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
};

/** What is the asker's fault is said to them; what is ours is said in general, and in full to the log. */
const fail = (site: Site, path: string, response: ServerResponse, error: WarehouseError): void => {
  if (response.headersSent) {
    response.destroy();
    return;
  }
  const { kind, message, detail } = error;
  if (kind === 'usage' || kind === 'data') sendJson(response, 400, { error: message, remedy: detail.remedy });
  else if (kind === 'cancelled' || kind === 'conflict')
    sendJson(response, 503, {
      error: 'the question took longer than a page may ask for',
      remedy: 'Ask it in SQL, where it has all the time it needs.',
    });
  else if (kind === 'connection' || kind === 'auth')
    sendJson(response, 503, { error: 'the database does not answer', remedy: 'Look at `pgstrata doctor`.' });
  else sendJson(response, 500, { error: 'the question failed; the log of `pgstrata serve` says why' });
  if (kind !== 'usage' && kind !== 'data') site.onError?.(error, path);
};
