/** The two gRPC calls of a query, with time limits, cancellation and back-pressure to the socket. */
import { InterceptingCall, connectivityState, status } from '@grpc/grpc-js';
import type { ClientReadableStream, Interceptor, Metadata, ServiceError, StatusObject } from '@grpc/grpc-js';
import type { WarehouseError } from '../runtime/errors.ts';
import type { Connection } from './connection.ts';
import { DO_GET, GET_FLIGHT_INFO } from './messages.ts';
import { cancelled, flightError, notInTime } from './status.ts';

/** One call: where to, with which headers, and who may stop it. */
export interface CallContext {
  readonly connection: Connection;
  readonly headers: Metadata;
  /** Only so that it can be struck out of what the server says. */
  readonly token: string | null;
  readonly signal: AbortSignal | undefined;
}

/** How long to wait for a connection, and for the answer to GetFlightInfo. */
export interface CallTimeouts {
  readonly connectTimeout_ms: number;
  readonly infoTimeout_ms: number;
}

/**
 * Received but unread bytes at which reading from the socket stops; the HTTP/2 window then fills and the server
 * has to wait. One message may go beyond it.
 */
export const READ_AHEAD_BYTES = 16 * 1024 * 1024;

const identity = (bytes: Buffer): Buffer => bytes;

/** Runs `stop` when the signal aborts, until the returned function is called. */
const onAbort = (signal: AbortSignal | undefined, stop: () => void): (() => void) => {
  if (signal === undefined) return () => {};
  signal.addEventListener('abort', stop, { once: true });
  return () => signal.removeEventListener('abort', stop);
};

const failure = (thrown: unknown, { connection, token, signal }: CallContext) =>
  signal?.aborted === true ? cancelled(connection.server) : flightError(thrown, connection.server, token);

/**
 * Asks GetFlightInfo. A refused connection fails at once, a silent one after `connectTimeout_ms`.
 *
 * @returns the bytes of a `FlightInfo`.
 * @throws WarehouseError by gRPC status, `cancelled` when the signal aborts.
 */
export const getFlightInfo = (
  context: CallContext,
  descriptor: Buffer,
  timeouts: CallTimeouts,
): Promise<Buffer> =>
  new Promise((resolve, reject) => {
    const { connection, headers, signal } = context;
    const { server, grpc } = connection;
    const { connectTimeout_ms, infoTimeout_ms } = timeouts;
    if (signal?.aborted === true) {
      reject(cancelled(server));
      return;
    }
    const stop = (reason: WarehouseError): void => {
      release();
      call.cancel();
      reject(reason);
    };
    const answered = (error: ServiceError | null, answer?: Buffer): void => {
      release();
      const isOurDeadline = error?.code === status.DEADLINE_EXCEEDED && Date.now() >= options.deadline;
      if (isOurDeadline) reject(notInTime(server, 'answer', infoTimeout_ms));
      else if (error !== null || answer === undefined) reject(failure(error, context));
      else resolve(answer);
    };
    const options = { deadline: Date.now() + connectTimeout_ms + infoTimeout_ms };
    const call = grpc.makeUnaryRequest(
      GET_FLIGHT_INFO,
      identity,
      identity,
      descriptor,
      headers,
      options,
      answered,
    );
    const connecting = setTimeout(() => {
      const isConnected = grpc.getChannel().getConnectivityState(false) === connectivityState.READY;
      if (!isConnected) stop(notInTime(server, 'connection', connectTimeout_ms));
    }, connectTimeout_ms);
    const stopListening = onAbort(signal, () => stop(cancelled(server)));
    function release(): void {
      clearTimeout(connecting);
      stopListening();
    }
  });

/** Holds a message back while too many unread bytes are buffered; at most one is held, as none is asked for after it. */
const createReadAhead = (): {
  readonly interceptor: Interceptor;
  readonly release: (bytes: number) => void;
} => {
  let buffered_bytes = 0;
  let held: { readonly size: number; readonly pass: () => void } | null = null;
  const admit = (size: number, pass: () => void): void => {
    buffered_bytes += size;
    pass();
  };
  const receive = (message: Buffer, next: (message: Buffer) => void): void => {
    const entry = { size: message.length, pass: () => next(message) };
    if (buffered_bytes < READ_AHEAD_BYTES) admit(entry.size, entry.pass);
    else held = entry;
  };
  return {
    interceptor: (options, nextCall) =>
      new InterceptingCall(nextCall(options), {
        start: (metadata, _listener, next) => next(metadata, { onReceiveMessage: receive }),
      }),
    release: (bytes) => {
      buffered_bytes -= bytes;
      if (held === null || buffered_bytes >= READ_AHEAD_BYTES) return;
      const { size, pass } = held;
      held = null;
      admit(size, pass);
    },
  };
};

/**
 * The messages of one DoGet, each the bytes of a `FlightData`. Reading is as slow as the consumer: what it does not
 * take stays with the server. Ends only when the server said OK; leaving early cancels the call.
 *
 * @throws WarehouseError by gRPC status, also for a stream that ends without one; `cancelled` when the signal aborts.
 */
export async function* doGet(context: CallContext, ticket: Buffer): AsyncGenerator<Buffer, void, undefined> {
  const { connection, headers, signal } = context;
  if (signal?.aborted === true) throw cancelled(connection.server);
  const { interceptor, release } = createReadAhead();
  const call: ClientReadableStream<Buffer> = connection.grpc.makeServerStreamRequest(
    DO_GET,
    identity,
    identity,
    ticket,
    headers,
    { interceptors: [interceptor] },
  );
  let ending: StatusObject | null = null;
  call.on('status', (received: StatusObject) => {
    ending = received;
  });
  // An error can come while nobody iterates; the iteration below reports it.
  call.on('error', () => {});
  const stopListening = onAbort(signal, () => call.cancel());
  try {
    for await (const message of call as AsyncIterable<Buffer>) {
      release(message.length);
      yield message;
    }
    assertOk(ending);
  } catch (error) {
    throw failure(error, context);
  } finally {
    stopListening();
    call.cancel();
  }
}

const assertOk = (ending: StatusObject | null): void => {
  if (ending?.code === status.OK) return;
  throw ending ?? { code: status.UNAVAILABLE, details: 'the stream ended without a status' };
};
