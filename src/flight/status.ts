/** gRPC statuses as errors of ours: what kind, which server, what to do, and never a secret. */
import { status } from '@grpc/grpc-js';
import { WarehouseError, messageOf } from '../runtime/errors.ts';
import type { ErrorKind } from '../runtime/errors.ts';

interface Meaning {
  readonly kind: ErrorKind;
  readonly remedy: string;
}

const retry: Meaning = {
  kind: 'connection',
  remedy: 'Try again; if it stays, look at the log of the Flight server.',
};
const unreachable: Meaning = {
  kind: 'connection',
  remedy:
    'Check that the Flight server runs at this address, and for TLS its certificate, CA and server name.',
};
const busy: Meaning = {
  kind: 'connection',
  remedy: 'Slow down and try again; if one message is too large, raise the largest message size.',
};
const refused: Meaning = {
  kind: 'auth',
  remedy: 'Check the token (or client certificate) for this Flight server.',
};
const rejected: Meaning = {
  kind: 'protocol',
  remedy: 'Correct the query, or check that the server speaks Flight SQL.',
};

/** Every gRPC status. INTERNAL and UNKNOWN are what proxies and cut connections produce, so a retry may help. */
const MEANINGS: Readonly<Record<string, Meaning>> = {
  CANCELLED: retry,
  UNKNOWN: retry,
  INVALID_ARGUMENT: rejected,
  DEADLINE_EXCEEDED: unreachable,
  NOT_FOUND: rejected,
  ALREADY_EXISTS: rejected,
  PERMISSION_DENIED: refused,
  RESOURCE_EXHAUSTED: busy,
  FAILED_PRECONDITION: rejected,
  ABORTED: retry,
  OUT_OF_RANGE: rejected,
  UNIMPLEMENTED: rejected,
  INTERNAL: retry,
  UNAVAILABLE: unreachable,
  DATA_LOSS: rejected,
  UNAUTHENTICATED: refused,
};

/** Longest text of a server that an error repeats. */
const MAX_DETAILS_CHARACTERS = 2_000;

/** `text` without the token, wherever a server or library repeats it. */
const redact = (text: string, token: string | null): string =>
  (token === null ? text : text.replaceAll(token, '[redacted]')).slice(0, MAX_DETAILS_CHARACTERS);

/** What grpc-js puts around the system's own word for why there is no connection. */
const UNCONNECTED =
  /^No connection established\. Last error: (?:Error: )?(?<why>.*?)\.? Resolution note:.*$/su;

interface Failure {
  readonly code: number;
  readonly details: string;
}

const isFailure = (thrown: unknown): thrown is Failure =>
  typeof thrown === 'object' &&
  thrown !== null &&
  'code' in thrown &&
  typeof thrown.code === 'number' &&
  'details' in thrown;

/** What we were asked to stop doing; never worth a retry. */
export const cancelled = (server: string): WarehouseError =>
  new WarehouseError('cancelled', `The query on Flight server ${server} was cancelled.`, {
    grpcStatus: 'CANCELLED',
    remedy: 'Nothing needs mending; start it again when wanted.',
  });

/** A failure to reach the server in the time allowed. */
export const notInTime = (server: string, what: string, limit_ms: number): WarehouseError =>
  new WarehouseError('connection', `Flight server ${server} gave no ${what} within ${limit_ms} ms.`, {
    grpcStatus: 'DEADLINE_EXCEEDED',
    remedy: unreachable.remedy,
  });

/**
 * Whatever a call threw, as a WarehouseError that names the server. The original is not kept as `cause`: it
 * carries headers.
 */
export const flightError = (thrown: unknown, server: string, token: string | null): WarehouseError => {
  if (thrown instanceof WarehouseError) return thrown;
  const code = isFailure(thrown) ? thrown.code : status.UNKNOWN;
  const grpcStatus = status[code] ?? 'UNKNOWN';
  const said = isFailure(thrown) ? thrown.details : messageOf(thrown);
  const details = redact(UNCONNECTED.exec(said)?.groups?.['why'] ?? said, token);
  const { kind, remedy } = MEANINGS[grpcStatus] ?? retry;
  return new WarehouseError(kind, `Flight server ${server} answered ${grpcStatus}: ${details}`, {
    grpcStatus,
    remedy,
  });
};
