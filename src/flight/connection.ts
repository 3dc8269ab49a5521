/** One HTTP/2 connection to a Flight server: its credentials, its limits, and the headers each call carries. */
import { readFileSync } from 'node:fs';
import * as tls from 'node:tls';
import { Client, Metadata, credentials } from '@grpc/grpc-js';
import type { ChannelCredentials } from '@grpc/grpc-js';
import type { Watermark } from '../chain/range.ts';
import { WarehouseError, messageOf } from '../runtime/errors.ts';
import { isLoopback, nameOf } from './address.ts';
import type { FlightAddress } from './address.ts';

/** How to trust a server, and how to be trusted. PEM values are the text itself or the path of a file. */
export interface FlightTls {
  /** Certificate authorities to trust instead of the system's. */
  readonly ca?: string | undefined;
  /** Client certificate (chain), for mutual TLS; needs `key`. */
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
  /** The name to expect in the server's certificate, where it differs from the host. */
  readonly serverName?: string | undefined;
}

/** Limits of a connection. */
export interface ConnectionLimits {
  readonly flowControlWindowBytes: number;
  readonly maxMessageBytes: number;
  readonly pingEvery_ms: number;
  readonly pingTimeout_ms: number;
}

/** An open (or lazily opening) connection. */
export interface Connection {
  /** `host:port`, for errors. */
  readonly server: string;
  readonly grpc: Client;
}

/** A token, or what yields the current one before each call. */
export type TokenSource = string | (() => string | Promise<string>);

/** Requests are a query and a ticket; nothing of ours is larger. */
const MAX_REQUEST_BYTES = 4 * 1024 * 1024;

const pemOf = (value: string, name: string): Buffer => {
  if (value.includes('-----BEGIN')) return Buffer.from(value);
  try {
    return readFileSync(value);
  } catch (error) {
    throw new WarehouseError('config', `The ${name} for Flight cannot be read: ${messageOf(error)}`, {
      file: value,
      remedy: 'Give PEM text or the path of a readable PEM file.',
    });
  }
};

/** What this machine trusts: its own store and Node's. Node before 22.15 knows only the latter. */
const systemAuthorities = (): Buffer | null =>
  typeof tls.getCACertificates === 'function'
    ? Buffer.from(
        [...new Set([...tls.getCACertificates('system'), ...tls.getCACertificates('default')])].join('\n'),
      )
    : null;

const tlsCredentials = ({ ca, cert, key }: FlightTls): ChannelCredentials => {
  if ((cert === undefined) !== (key === undefined)) {
    throw new WarehouseError('config', 'Mutual TLS for Flight needs both a client certificate and its key.', {
      remedy: `Give the ${cert === undefined ? 'certificate' : 'key'} as well, or neither.`,
    });
  }
  const authorities = ca === undefined ? systemAuthorities() : pemOf(ca, 'CA certificate');
  const chain = cert === undefined ? null : pemOf(cert, 'client certificate');
  const secret = key === undefined ? null : pemOf(key, 'client key');
  try {
    return credentials.createSsl(authorities, secret, chain);
  } catch (error) {
    throw new WarehouseError('config', `The certificates for Flight cannot be used: ${messageOf(error)}`, {
      remedy: 'Check that CA, client certificate and key are PEM and belong together.',
    });
  }
};

/**
 * A connection to `address`; nothing is sent before its first call.
 *
 * @throws WarehouseError `config` for unusable certificates.
 */
export const openConnection = (
  address: FlightAddress,
  options: FlightTls,
  limits: ConnectionLimits,
): Connection => {
  const server = nameOf(address);
  const serverName = address.tls ? options.serverName : undefined;
  const grpc = new Client(
    `dns:${server}`,
    address.tls ? tlsCredentials(options) : credentials.createInsecure(),
    {
      'grpc.max_receive_message_length': limits.maxMessageBytes,
      'grpc.max_send_message_length': MAX_REQUEST_BYTES,
      'grpc-node.flow_control_window': limits.flowControlWindowBytes,
      'grpc.keepalive_time_ms': limits.pingEvery_ms,
      'grpc.keepalive_timeout_ms': limits.pingTimeout_ms,
      // Retrying is the caller's: it knows the last committed block.
      'grpc.enable_retries': 0,
      'grpc.service_config_disable_resolution': 1,
      // Parallel loaders want a connection each, not one shared by the whole process.
      'grpc.use_local_subchannel_pool': 1,
      'grpc.enable_http_proxy': isLoopback(address.host) ? 0 : 1,
      ...(serverName === undefined
        ? {}
        : { 'grpc.ssl_target_name_override': serverName, 'grpc.default_authority': serverName }),
    },
  );
  return { server, grpc };
};

const PRINTABLE = /^[\x20-\x7e]*$/;

/**
 * The token to send now, null when there is none.
 *
 * @throws WarehouseError `auth` when it cannot be had or cannot be a header; the token itself is never shown.
 */
export const currentToken = async (source: TokenSource | undefined): Promise<string | null> => {
  if (source === undefined) return null;
  const token = (typeof source === 'string' ? source : await tokenFrom(source)).trim();
  if (token === '' || !PRINTABLE.test(token)) {
    throw new WarehouseError('auth', 'The token for the Flight server is empty or not printable ASCII.', {
      grpcStatus: 'UNAUTHENTICATED',
      remedy: 'Check where the token is read from.',
    });
  }
  return token;
};

const tokenFrom = async (source: () => string | Promise<string>): Promise<string> => {
  try {
    return await source();
  } catch (error) {
    if (error instanceof WarehouseError) throw error;
    throw new WarehouseError('auth', `No token for the Flight server could be had: ${messageOf(error)}`, {
      grpcStatus: 'UNAUTHENTICATED',
      remedy: 'Check where the token comes from.',
    });
  }
};

/** Headers of a call: the caller's own, then `authorization`. */
export const headersOf = (own: Readonly<Record<string, string>>, token: string | null): Metadata => {
  const metadata = new Metadata();
  for (const [name, value] of Object.entries(own)) {
    try {
      metadata.set(name, value);
    } catch {
      throw new WarehouseError('usage', `The Flight header ${JSON.stringify(name)} cannot be sent.`, {
        remedy: 'Use lower-case letters, digits, - and _ in its name, printable ASCII in its value.',
      });
    }
  }
  if (token !== null) metadata.set('authorization', `Bearer ${token}`);
  return metadata;
};

/** JSON that fits a header: everything beyond printable ASCII escaped. */
const asciiJson = (value: unknown): string =>
  JSON.stringify(value).replaceAll(
    /[^\x20-\x7e]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );

/** The headers that make a query a stream and say where it goes on; the server reads them with GetFlightInfo only. */
export const streamHeaders = (
  stream: boolean,
  resume: readonly Watermark[],
): Readonly<Record<string, string>> => ({
  ...(stream ? { 'amp-stream': 'true' } : {}),
  ...(resume.length === 0
    ? {}
    : {
        'amp-resume': asciiJson(
          Object.fromEntries(resume.map(({ network, number, hash }) => [network, { number, hash }])),
        ),
      }),
});
