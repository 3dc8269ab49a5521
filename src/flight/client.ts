/** The Flight SQL client: a query goes out, Arrow record batches come back as slowly as they are read. */
import type { RecordBatch, Schema } from 'apache-arrow';
import { createIpcDecoder } from '../arrow/ipc.ts';
import type { Watermark } from '../chain/range.ts';
import { WarehouseError } from '../runtime/errors.ts';
import { assertPlaintextAllowed, nameOf, parseAddress, parseLocation } from './address.ts';
import type { FlightAddress } from './address.ts';
import { doGet, getFlightInfo } from './call.ts';
import type { CallContext } from './call.ts';
import { currentToken, headersOf, openConnection, streamHeaders } from './connection.ts';
import type { Connection, FlightTls, TokenSource } from './connection.ts';
import {
  alignBody,
  decapsulate,
  decodeFlightData,
  decodeFlightInfo,
  encodeQueryDescriptor,
  encodeTicket,
} from './messages.ts';
import type { FlightEndpoint, FlightInfo } from './messages.ts';

/** Where the server is, how to be let in, and how much it may send at once. */
export interface FlightOptions {
  /** `grpc://host:port` or `grpc+tls://host:port`; `http` and `https` are synonyms. */
  readonly url: string;
  /** Sent as `authorization: Bearer …` with every call. */
  readonly token?: TokenSource | undefined;
  readonly tls?: FlightTls | undefined;
  /** Lets plaintext go to a host that is not this machine. */
  readonly allowPlaintext?: boolean | undefined;
  /** Bytes a server may send ahead of the reader on one connection; default 8 MiB. */
  readonly flowControlWindowBytes?: number | undefined;
  /** Largest message accepted; default 256 MiB. */
  readonly maxMessageBytes?: number | undefined;
  /** Longest wait for a connection; default 10 s. */
  readonly connectTimeout_ms?: number | undefined;
  /** Longest wait for a connected server to plan a query; default 60 s. */
  readonly infoTimeout_ms?: number | undefined;
  /** How often a running query's connection is pinged, which is how a dead one is found out; default 330 s. */
  readonly pingEvery_ms?: number | undefined;
  /** Longest wait for the answer to a ping; default 20 s. */
  readonly pingTimeout_ms?: number | undefined;
}

/** How one query runs. */
export interface QueryOptions {
  /** Follow the chain's head instead of ending there (`amp-stream`). */
  readonly stream?: boolean | undefined;
  /** Go on behind these blocks (`amp-resume`), one per network. */
  readonly resume?: readonly Watermark[] | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Further headers, sent with both calls. */
  readonly headers?: Readonly<Record<string, string>> | undefined;
}

/** One message of a query. */
export interface FlightMessage {
  readonly schema: Schema;
  /** Null for a message without a record batch: the schema itself, or metadata alone. */
  readonly batch: RecordBatch | null;
  /** The message's own app_metadata; null when it has none. */
  readonly metadata: Uint8Array | null;
}

/** A client of one server; connections open with the first query. */
export interface FlightClient {
  /** `host:port`, as errors name it. */
  readonly server: string;
  /**
   * Runs a query and yields what comes, message by message. The first message carries the schema alone as soon as
   * the server has said it. Completes only when the server confirmed the end; a cut stream throws. Abandoning
   * the generator cancels the query.
   *
   * @throws WarehouseError `connection`, `auth`, `protocol` or `cancelled`; `detail.grpcStatus` names gRPC's view.
   */
  readonly query: (sql: string, options?: QueryOptions) => AsyncGenerator<FlightMessage, void, undefined>;
  /** Closes all connections; running queries end as `cancelled`, later ones do not begin. */
  readonly close: () => void;
}

const DEFAULT_WINDOW_BYTES = 8 * 1024 * 1024;
const DEFAULT_MESSAGE_BYTES = 256 * 1024 * 1024;
const DEFAULT_CONNECT_TIMEOUT_MS = 10_000;
const DEFAULT_INFO_TIMEOUT_MS = 60_000;
/** Servers answer pings more frequent than 5 minutes with GOAWAY too_many_pings; stay clear of that. */
const DEFAULT_PING_EVERY_MS = 330_000;
const DEFAULT_PING_TIMEOUT_MS = 20_000;

/** What the steps of a query share. */
interface Session {
  readonly options: FlightOptions;
  readonly address: FlightAddress;
  /** The connection to an address, opened once. */
  readonly connect: (address: FlightAddress) => Connection;
  /** Aborts when the client is closed. */
  readonly closing: AbortSignal;
}

const createSession = (options: FlightOptions): Session & { readonly close: () => void } => {
  const address = parseAddress(options.url);
  const connections = new Map<string, Connection>();
  const limits = {
    flowControlWindowBytes: options.flowControlWindowBytes ?? DEFAULT_WINDOW_BYTES,
    maxMessageBytes: options.maxMessageBytes ?? DEFAULT_MESSAGE_BYTES,
    pingEvery_ms: options.pingEvery_ms ?? DEFAULT_PING_EVERY_MS,
    pingTimeout_ms: options.pingTimeout_ms ?? DEFAULT_PING_TIMEOUT_MS,
  };
  const connect = (target: FlightAddress): Connection => {
    assertPlaintextAllowed(target, options.allowPlaintext ?? false);
    const key = `${target.tls ? 'tls' : 'plain'} ${nameOf(target)}`;
    const connection = connections.get(key) ?? openConnection(target, options.tls ?? {}, limits);
    connections.set(key, connection);
    return connection;
  };
  const closing = new AbortController();
  const close = (): void => {
    // gRPC would let running calls go on after its channel is closed.
    closing.abort();
    for (const { grpc } of connections.values()) grpc.close();
    connections.clear();
  };
  connect(address);
  return { options, address, connect, close, closing: closing.signal };
};

const contextFor = async (
  session: Session,
  address: FlightAddress,
  headers: Readonly<Record<string, string>>,
  signal: AbortSignal | undefined,
): Promise<CallContext> => {
  const token = await currentToken(session.options.token);
  return { connection: session.connect(address), headers: headersOf(headers, token), token, signal };
};

const askFlightInfo = async (session: Session, sql: string, options: QueryOptions): Promise<FlightInfo> => {
  const headers = { ...options.headers, ...streamHeaders(options.stream ?? false, options.resume ?? []) };
  const context = await contextFor(session, session.address, headers, options.signal);
  const answer = await getFlightInfo(context, encodeQueryDescriptor(sql), {
    connectTimeout_ms: session.options.connectTimeout_ms ?? DEFAULT_CONNECT_TIMEOUT_MS,
    infoTimeout_ms: session.options.infoTimeout_ms ?? DEFAULT_INFO_TIMEOUT_MS,
  });
  return decodeFlightInfo(answer);
};

const schemaOf = (info: FlightInfo): Schema | null => {
  const header = decapsulate(info.schema);
  if (header === null) return null;
  const decoder = createIpcDecoder();
  decoder.push(header, new Uint8Array(0));
  return decoder.schema;
};

/** Where an endpoint's data can be had, best first; the server that was asked when it names nobody else. */
const addressesOf = ({ locations }: FlightEndpoint, asked: FlightAddress): readonly FlightAddress[] => {
  if (locations.length === 0) return [asked];
  const known = locations.map(parseLocation).filter((location) => location !== null);
  if (known.length === 0) {
    throw new WarehouseError(
      'protocol',
      `The Flight server offers its data only at ${locations.join(', ')}.`,
      {
        remedy: 'Use a server whose locations are grpc:// or grpc+tls://.',
      },
    );
  }
  return known.map((location) => (location === 'here' ? asked : location));
};

const sameColumns = (left: Schema, right: Schema): boolean =>
  left.fields.length === right.fields.length &&
  left.fields.every((field, index) => {
    const other = right.fields[index];
    return field.name === other?.name && String(field.type) === String(other.type);
  });

const assertSameSchema = (known: Schema | null, next: Schema): void => {
  if (known === null || sameColumns(known, next)) return;
  throw new WarehouseError('protocol', 'The Flight server changed the schema in the middle of a query.', {
    remedy: 'Check that all endpoints of the server have the same version of the dataset.',
  });
};

/** Turns the raw messages of one endpoint into ours; `announced` is the schema the reader has been told. */
async function* decodeMessages(
  messages: AsyncIterable<Buffer>,
  announced: Schema | null,
): AsyncGenerator<FlightMessage, void, undefined> {
  const decoder = createIpcDecoder();
  let told = announced;
  for await (const message of messages) {
    const { header, metadata, body } = alignBody(message, decodeFlightData(message));
    // A message without a header is metadata alone; an Arrow reader would take it for the end of the stream.
    const batch = header.length === 0 ? null : decoder.push(header, body);
    const schema = decoder.schema ?? told;
    if (schema === null) {
      throw new WarehouseError('protocol', 'The Flight server sent data before its schema.', {
        remedy: 'Check that the server is a working Arrow Flight server.',
      });
    }
    const isNews = told === null;
    if (schema !== told) assertSameSchema(told, schema);
    told = schema;
    // Dictionaries and a schema already told are nobody's concern, unless they carry metadata.
    if (batch === null && metadata.length === 0 && !isNews) continue;
    yield { schema, batch, metadata: metadata.length === 0 ? null : metadata };
  }
}

const isUnreachable = (thrown: unknown): boolean =>
  thrown instanceof WarehouseError && thrown.kind === 'connection';

/** One endpoint from the first of its addresses that answers; after the first message there is no second try. */
async function* readEndpoint(
  session: Session,
  endpoint: FlightEndpoint,
  options: QueryOptions,
  announced: Schema | null,
): AsyncGenerator<FlightMessage, void, undefined> {
  const addresses = addressesOf(endpoint, session.address);
  for (const [index, address] of addresses.entries()) {
    let started = false;
    try {
      const context = await contextFor(session, address, options.headers ?? {}, options.signal);
      for await (const message of decodeMessages(doGet(context, encodeTicket(endpoint.ticket)), announced)) {
        started = true;
        yield message;
      }
      return;
    } catch (error) {
      if (started || index === addresses.length - 1 || !isUnreachable(error)) throw error;
    }
  }
}

/** The options with a signal that also aborts when the client is closed. */
const untilClosed = (options: QueryOptions, { closing }: Session): QueryOptions => ({
  ...options,
  signal:
    options.signal === undefined ? AbortSignal.any([closing]) : AbortSignal.any([closing, options.signal]),
});

async function* runQuery(
  session: Session,
  sql: string,
  asked: QueryOptions,
): AsyncGenerator<FlightMessage, void, undefined> {
  const options = untilClosed(asked, session);
  const info = await askFlightInfo(session, sql, options);
  let schema = schemaOf(info);
  if (schema !== null) yield { schema, batch: null, metadata: null };
  for (const endpoint of info.endpoints) {
    for await (const message of readEndpoint(session, endpoint, options, schema)) {
      ({ schema } = message);
      yield message;
    }
  }
}

/**
 * A client for the Flight server at `options.url`.
 *
 * @throws WarehouseError `config` for a bad address, unusable certificates, or plaintext to another machine.
 */
export const connectFlight = (options: FlightOptions): FlightClient => {
  const session = createSession(options);
  return {
    server: nameOf(session.address),
    query: (sql, queryOptions = {}) => runQuery(session, sql, queryOptions),
    close: session.close,
  };
};
