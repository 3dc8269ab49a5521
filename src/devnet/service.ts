/** The Flight service of a devnet: GetFlightInfo and DoGet over gRPC, nothing else, as Amp servers have it. */
import { setTimeout as delay } from 'node:timers/promises';
import { Server, ServerCredentials, status } from '@grpc/grpc-js';
import type { Metadata, ServerUnaryCall, ServerWritableStream, sendUnaryData } from '@grpc/grpc-js';
import { WarehouseError, messageOf } from '../runtime/errors.ts';
import {
  DO_GET,
  GET_FLIGHT_INFO,
  decodeDescriptor,
  decodeStatementQuery,
  decodeTicket,
  encodeFlightInfo,
} from '../flight/messages.ts';

/** What GetFlightInfo is asked. */
export interface InfoRequest {
  readonly sql: string;
  /** First value of a header, null when absent. */
  readonly header: (name: string) => string | null;
}

/** What the gRPC side needs to know of the devnet. */
export interface ServiceHandlers {
  readonly token: string | null;
  /** How long every call waits before it is answered, in milliseconds. */
  readonly latency_ms: number;
  /** Schema (encapsulated IPC message, may be empty) and ticket for a query. */
  readonly info: (request: InfoRequest) => { readonly schema: Uint8Array; readonly ticket: Uint8Array };
  /** The messages for a ticket; stops when the signal aborts. */
  readonly get: (ticket: Uint8Array, signal: AbortSignal) => AsyncIterable<Buffer> | Iterable<Buffer>;
  /** Told of each DoGet; what it returns is called before each message and may throw to fail the call there. */
  readonly onGet: (fail: (failure: GrpcFailure) => void, signal: AbortSignal) => () => void;
}

/** A gRPC status a call fails with. */
export interface GrpcFailure {
  readonly code: number;
  readonly details: string;
}

const identity = (bytes: Buffer): Buffer => bytes;

const failureOf = (thrown: unknown): GrpcFailure => {
  if (thrown instanceof WarehouseError && (thrown.kind === 'usage' || thrown.kind === 'protocol')) {
    return { code: status.INVALID_ARGUMENT, details: thrown.message };
  }
  const isStatus = typeof thrown === 'object' && thrown !== null && 'code' in thrown && 'details' in thrown;
  if (isStatus && typeof thrown.code === 'number')
    return { code: thrown.code, details: String(thrown.details) };
  return { code: status.INTERNAL, details: messageOf(thrown) };
};

const headerOf = (metadata: Metadata, name: string): string | null =>
  metadata.get(name)[0]?.toString() ?? null;

const authorise = (metadata: Metadata, token: string | null): void => {
  if (token === null || headerOf(metadata, 'authorization') === `Bearer ${token}`) return;
  throw Object.assign(new Error('unauthenticated'), {
    code: status.UNAUTHENTICATED,
    details: 'a valid bearer token is needed',
  });
};

const sqlOf = (request: Buffer): string => {
  const { type, cmd } = decodeDescriptor(request);
  const sql = type === 2 ? decodeStatementQuery(cmd) : null;
  if (sql === null) {
    throw new WarehouseError('usage', 'The descriptor must be a CMD that holds Any(CommandStatementQuery).');
  }
  return sql;
};

const answerInfo = (handlers: ServiceHandlers, call: ServerUnaryCall<Buffer, Buffer>): Buffer => {
  authorise(call.metadata, handlers.token);
  const { schema, ticket } = handlers.info({
    sql: sqlOf(call.request),
    header: (name) => headerOf(call.metadata, name),
  });
  return encodeFlightInfo({ schema, endpoints: [{ ticket, locations: [] }], totalRecords: -1 });
};

type GetCall = ServerWritableStream<Buffer, Buffer>;

/** Settles when the message left for the socket (which waits for a slow reader) or the call ended. */
const send = (call: GetCall, message: Buffer, signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    const done = (): void => {
      signal.removeEventListener('abort', done);
      resolve();
    };
    signal.addEventListener('abort', done);
    call.write(message, done);
  });

/** One message is on its way while the next is made; never more. */
const sendAll = async (
  call: GetCall,
  messages: AsyncIterable<Buffer> | Iterable<Buffer>,
  before: () => void,
  signal: AbortSignal,
): Promise<void> => {
  let previous = Promise.resolve();
  for await (const message of messages) {
    await previous;
    if (signal.aborted) return;
    before();
    previous = send(call, message, signal);
  }
  await previous;
};

/** Comes when an answer may begin. */
const later = ({ latency_ms }: ServiceHandlers): Promise<void> =>
  latency_ms === 0 ? Promise.resolve() : delay(latency_ms);

const answerGet = async (handlers: ServiceHandlers, call: GetCall, stopping: AbortSignal): Promise<void> => {
  const gone = new AbortController();
  const signal = AbortSignal.any([gone.signal, stopping]);
  const fail = (failure: GrpcFailure): void => {
    if (signal.aborted) return;
    call.emit('error', failure);
    gone.abort();
  };
  call.on('cancelled', () => gone.abort());
  call.on('close', () => gone.abort());
  try {
    authorise(call.metadata, handlers.token);
    await later(handlers);
    const before = handlers.onGet(fail, signal);
    await sendAll(call, handlers.get(decodeTicket(call.request), signal), before, signal);
    if (stopping.aborted) call.emit('error', { code: status.UNAVAILABLE, details: 'the devnet is stopping' });
    else if (!signal.aborted) call.end();
  } catch (error) {
    fail(failureOf(error));
  }
};

const method = (path: string, responseStream: boolean) => ({
  path,
  requestStream: false,
  responseStream,
  requestSerialize: identity,
  requestDeserialize: identity,
  responseSerialize: identity,
  responseDeserialize: identity,
});

/** Certificates of the server; with `clientCa` clients have to show one of their own. */
export interface ServerTls {
  /** PEM text. */
  readonly cert: string;
  /** PEM text. */
  readonly key: string;
  /** PEM text of who may sign client certificates. */
  readonly clientCa?: string | undefined;
}

/** gRPC credentials of the server. */
export const serverCredentials = (tls: ServerTls | undefined): ServerCredentials => {
  if (tls === undefined) return ServerCredentials.createInsecure();
  const pair = { private_key: Buffer.from(tls.key), cert_chain: Buffer.from(tls.cert) };
  const clientCa = tls.clientCa === undefined ? null : Buffer.from(tls.clientCa);
  return ServerCredentials.createSsl(clientCa, [pair], clientCa !== null);
};

/** A gRPC server with the two calls, not yet listening. When `stopping` aborts, running calls end. */
export const createService = (handlers: ServiceHandlers, stopping: AbortSignal): Server => {
  const server = new Server();
  server.addService(
    { getFlightInfo: method(GET_FLIGHT_INFO, false), doGet: method(DO_GET, true) },
    {
      getFlightInfo: (call: ServerUnaryCall<Buffer, Buffer>, reply: sendUnaryData<Buffer>) => {
        later(handlers)
          .then(() => reply(null, answerInfo(handlers, call)))
          .catch((error: unknown) => reply(failureOf(error)));
      },
      doGet: (call: GetCall) => void answerGet(handlers, call, stopping),
    },
  );
  return server;
};
