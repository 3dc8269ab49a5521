/** Reads a PostgreSQL URL: what may be printed of it, and whether it may be dialled without TLS. */
import { WarehouseError } from '../runtime/errors.ts';

const LOOPBACK = /^(?:localhost|127(?:\.\d{1,3}){3}|\[?::1\]?)$/u;

/**
 * The URL parsed; a fault is a `config` error that quotes nothing of it, for it may hold a password.
 *
 * @throws WarehouseError `config`
 */
export const parseDatabaseUrl = (url: string): URL => {
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  if (parsed !== undefined && /^postgres(?:ql)?:$/u.test(parsed.protocol)) return parsed;
  throw new WarehouseError('config', 'The database URL cannot be read.', {
    remedy:
      'Write it as postgres://user:password@host:5432/database, with special characters percent-encoded.',
  });
};

/**
 * The URL as it may be printed: the password, wherever it stands, becomes `***`.
 *
 * @example redactUrl('postgres://me:secret@db/x') // 'postgres://me:***@db/x'
 */
export const redactUrl = (url: string): string => {
  if (!URL.canParse(url)) return '<unreadable database URL>';
  const parsed = new URL(url);
  if (parsed.password !== '') parsed.password = '***';
  for (const name of ['password', 'sslpassword']) {
    if (parsed.searchParams.has(name)) parsed.searchParams.set(name, '***');
  }
  return parsed.toString();
};

const hostOf = (url: URL): string =>
  url.searchParams.get('host') ??
  (url.hostname === '' ? (process.env['PGHOST'] ?? 'localhost') : decodeURIComponent(url.hostname));

const namesTls = (url: URL): boolean =>
  ['sslmode', 'ssl', 'sslrootcert', 'sslcert', 'sslnegotiation'].some((name) => url.searchParams.has(name)) ||
  process.env['PGSSLMODE'] !== undefined;

/**
 * Refuses a URL that would send the password and the data in the clear to another machine. Any `sslmode` in
 * the URL (even `disable`) counts as a choice made by name.
 *
 * @throws WarehouseError `config`
 */
export const refusePlaintext = (url: URL): void => {
  const host = hostOf(url);
  if (host.startsWith('/') || LOOPBACK.test(host) || namesTls(url)) return;
  throw new WarehouseError('config', `The connection to ${host} would not be encrypted.`, {
    remedy: 'Add sslmode=verify-full to the database URL, or sslmode=disable if the network is trusted.',
  });
};

/** Whether a database's URL names this machine, or a socket in it. */
export const isLocalUrl = (url: string): boolean => {
  const host = URL.canParse(url) ? new URL(url).hostname : '';
  return host === '' || host === 'localhost' || host === '[::1]' || host.startsWith('127.');
};
