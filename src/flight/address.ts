/** Flight addresses: `grpc://host:port` and its synonyms, and which of them may go without TLS. */
import { isIP } from 'node:net';
import { WarehouseError } from '../runtime/errors.ts';

/** Where a Flight server listens, and whether by TLS. */
export interface FlightAddress {
  readonly host: string;
  readonly port: number;
  readonly tls: boolean;
}

const TLS_BY_SCHEME: Readonly<Record<string, boolean>> = {
  'grpc:': false,
  'grpc+tcp:': false,
  'http:': false,
  'grpc+tls:': true,
  'grpcs:': true,
  'https:': true,
};

const DEFAULT_PORTS: Readonly<Record<string, number>> = { 'http:': 80, 'https:': 443 };
/** The port Amp servers listen on unless told otherwise. */
const FLIGHT_PORT = 1602;

const invalid = (what: string): WarehouseError =>
  new WarehouseError('config', `${what} is not a Flight address.`, {
    remedy: 'Write it as grpc://host:port, or grpc+tls://host:port for TLS.',
  });

const parsed = (url: string): URL | null => (URL.canParse(url) ? new URL(url) : null);

/** The address in `url` with what could be a secret (user, password, path, query) left out. */
const redacted = (url: URL): string => `${url.protocol}//${url.host}`;

/** @throws WarehouseError `config` when `url` is not a Flight address; it never repeats a password. */
export const parseAddress = (url: string): FlightAddress => {
  const parts = parsed(url);
  if (parts === null) throw invalid('The value');
  const tls = TLS_BY_SCHEME[parts.protocol];
  if (tls === undefined || parts.hostname === '') throw invalid(redacted(parts));
  if (parts.username !== '' || parts.password !== '') {
    throw new WarehouseError('config', `The Flight address ${redacted(parts)} carries a user or password.`, {
      remedy: 'Give the credentials as a token instead.',
    });
  }
  const port = parts.port === '' ? (DEFAULT_PORTS[parts.protocol] ?? FLIGHT_PORT) : Number(parts.port);
  return { host: parts.hostname.replace(/^\[|\]$/g, ''), port, tls };
};

/** `host:port` as errors name a server; IPv6 in brackets. */
export const nameOf = ({ host, port }: FlightAddress): string =>
  isIP(host) === 6 ? `[${host}]:${port}` : `${host}:${port}`;

/** Whether the host is this machine: only then may plaintext go unasked. */
export const isLoopback = (host: string): boolean =>
  host === 'localhost' ||
  host.endsWith('.localhost') ||
  host === '::1' ||
  (isIP(host) === 4 && host.startsWith('127.'));

/** @throws WarehouseError `config` for plaintext to another machine that nobody allowed. */
export const assertPlaintextAllowed = (address: FlightAddress, allowPlaintext: boolean): void => {
  if (address.tls || allowPlaintext || isLoopback(address.host)) return;
  throw new WarehouseError('config', `Flight to ${nameOf(address)} would go unencrypted over the network.`, {
    remedy: 'Use grpc+tls://, or allow plaintext to this server by name.',
  });
};

/** The location by which a server says "where you are now". */
const REUSE_CONNECTION = 'arrow-flight-reuse-connection:';

/** An endpoint's location: the server that was asked (`here`), another one, or a scheme we do not speak. */
export const parseLocation = (uri: string): FlightAddress | 'here' | null => {
  const parts = parsed(uri);
  if (parts?.protocol === REUSE_CONNECTION) return 'here';
  if (parts === null || TLS_BY_SCHEME[parts.protocol] === undefined || parts.hostname === '') return null;
  return parseAddress(uri);
};
