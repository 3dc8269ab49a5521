/** Turns what `pg` and the sockets throw into a WarehouseError, by SQLSTATE and error code, never by message. */
import { WarehouseError, messageOf, withDetail } from '../runtime/errors.ts';
import type { ErrorDetail, ErrorKind } from '../runtime/errors.ts';

/** The parts of a server's ErrorResponse that we read; every one but `code` may be absent. */
interface ServerError {
  readonly message: string;
  readonly code: string;
  readonly detail?: string;
  readonly hint?: string;
  readonly where?: string;
  readonly column?: string;
}

interface Verdict {
  readonly kind: ErrorKind;
  readonly remedy?: string;
  /** The state PostgreSQL would name, for what only the driver and the sockets can tell. */
  readonly sqlstate?: string;
}

const NOT_REACHED = '08001'; // sqlclient_unable_to_establish_sqlconnection
const CUT = '08006'; // connection_failure

const fieldOf = (thrown: unknown, name: string): unknown =>
  typeof thrown === 'object' && thrown !== null ? Reflect.get(thrown, name) : undefined;

/** Node puts the errors of several addresses (`localhost` is often two) under one with an empty message. */
const unfold = (thrown: unknown): unknown =>
  thrown instanceof AggregateError && thrown.errors.length > 0 ? thrown.errors[0] : thrown;

const isServerError = (thrown: unknown): thrown is ServerError =>
  thrown instanceof Error &&
  typeof fieldOf(thrown, 'severity') === 'string' &&
  typeof fieldOf(thrown, 'code') === 'string';

/**
 * The SQLSTATE of anything thrown, or undefined when PostgreSQL did not throw it.
 *
 * @example sqlstateOf(error) === '40001'
 */
export const sqlstateOf = (thrown: unknown): string | undefined => {
  if (thrown instanceof WarehouseError) return thrown.detail.sqlstate;
  return isServerError(thrown) ? thrown.code : undefined;
};

const REMEDY_CREDENTIALS = 'Check the user and the password in DATABASE_URL.';
const REMEDY_REACH = 'Check the host and the port in DATABASE_URL, and that PostgreSQL runs there.';
const REMEDY_TLS =
  'Name the certificate authority with sslrootcert=<file> in DATABASE_URL, or use sslmode=no-verify.';

const STATE_VERDICTS: Readonly<Record<string, Verdict>> = {
  '28000': { kind: 'auth', remedy: REMEDY_CREDENTIALS },
  '28P01': { kind: 'auth', remedy: REMEDY_CREDENTIALS },
  '3D000': { kind: 'config', remedy: 'Create the database, or name another one in DATABASE_URL.' },
  '40001': { kind: 'conflict' },
  '40P01': { kind: 'conflict' },
  '42501': { kind: 'database', remedy: 'Connect as the owner of the schema, or grant the missing right.' },
  '53100': { kind: 'database', remedy: "Free space on the server's disk; nothing of this batch was stored." },
  '53200': {
    kind: 'database',
    remedy: 'Raise max_locks_per_transaction (512 or more) or the memory limits.',
  },
  '53300': { kind: 'connection', remedy: 'Raise max_connections, or lower the size of the pool.' },
  '55006': { kind: 'conflict' },
  '55P03': { kind: 'conflict' },
  '57014': { kind: 'cancelled' },
  '57P01': { kind: 'connection' },
  '57P02': { kind: 'connection' },
  '57P03': { kind: 'connection' },
};

const CLASS_VERDICTS: Readonly<Record<string, Verdict>> = {
  '08': { kind: 'connection' },
  '22': { kind: 'data' },
  '23': { kind: 'data' },
  '28': { kind: 'auth', remedy: REMEDY_CREDENTIALS },
};

const CODE_VERDICTS: Readonly<Record<string, Verdict>> = {
  ABORT_ERR: { kind: 'cancelled' },
  ECONNREFUSED: { kind: 'connection', remedy: REMEDY_REACH, sqlstate: NOT_REACHED },
  ECONNRESET: { kind: 'connection', sqlstate: CUT },
  EHOSTUNREACH: { kind: 'connection', remedy: REMEDY_REACH, sqlstate: NOT_REACHED },
  ENETUNREACH: { kind: 'connection', remedy: REMEDY_REACH, sqlstate: NOT_REACHED },
  ENOENT: { kind: 'connection', remedy: REMEDY_REACH, sqlstate: NOT_REACHED }, // the socket file of a server that does not run
  ENOTFOUND: { kind: 'connection', remedy: REMEDY_REACH, sqlstate: NOT_REACHED },
  EAI_AGAIN: { kind: 'connection', remedy: REMEDY_REACH, sqlstate: NOT_REACHED },
  EPIPE: { kind: 'connection', sqlstate: CUT },
  ETIMEDOUT: { kind: 'connection', remedy: REMEDY_REACH, sqlstate: NOT_REACHED },
  CERT_HAS_EXPIRED: { kind: 'connection', remedy: REMEDY_TLS },
  DEPTH_ZERO_SELF_SIGNED_CERT: { kind: 'connection', remedy: REMEDY_TLS },
  ERR_TLS_CERT_ALTNAME_INVALID: { kind: 'connection', remedy: REMEDY_TLS },
  SELF_SIGNED_CERT_IN_CHAIN: { kind: 'connection', remedy: REMEDY_TLS },
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: { kind: 'connection', remedy: REMEDY_TLS },
};

/** The driver's own constants: it gives these no code at all, so this is where they get one. */
const DRIVER_VERDICTS: readonly (readonly [beginning: string, verdict: Verdict])[] = [
  ['SASL', { kind: 'auth', remedy: REMEDY_CREDENTIALS }],
  [
    'timeout exceeded when trying to connect',
    {
      kind: 'connection',
      remedy: 'Every connection is in use: raise the size of the pool.',
      sqlstate: NOT_REACHED,
    },
  ],
  ['timeout expired', { kind: 'connection', remedy: REMEDY_REACH, sqlstate: NOT_REACHED }],
  ['Connection terminated', { kind: 'connection', sqlstate: CUT }],
  ['Client has encountered a connection error', { kind: 'connection', sqlstate: CUT }],
  ['Client was closed', { kind: 'connection', sqlstate: CUT }],
  ['The server does not support SSL', { kind: 'connection', remedy: 'Remove sslmode from DATABASE_URL.' }],
];

const verdictOf = (thrown: unknown): Verdict => {
  if (isServerError(thrown)) {
    const { code } = thrown;
    return STATE_VERDICTS[code] ?? CLASS_VERDICTS[code.slice(0, 2)] ?? { kind: 'database' };
  }
  const code = fieldOf(thrown, 'code');
  const known = typeof code === 'string' ? CODE_VERDICTS[code] : undefined;
  if (known !== undefined) return known;
  if (fieldOf(thrown, 'name') === 'AbortError') return { kind: 'cancelled' };
  const message = messageOf(thrown);
  return DRIVER_VERDICTS.find(([beginning]) => message.startsWith(beginning))?.[1] ?? { kind: 'internal' };
};

/** `COPY balances, line 12, column amount: "…"` names the row and the column of a value COPY refused. */
const COPY_PLACE = /^COPY [^,]+, line (?<row>\d+)(?:, column (?<column>[^:]+))?/mu;

const placeOf = (error: ServerError): ErrorDetail => {
  const { row, column = error.column } = COPY_PLACE.exec(error.where ?? '')?.groups ?? {};
  return { ...(row !== undefined && { row: Number(row) }), ...(column !== undefined && { column }) };
};

/**
 * Anything thrown by `pg`, as the project's own error: kind by SQLSTATE or socket code, the remedy where there is
 * one, the row and column of a COPY failure. A WarehouseError stays itself and gains `context`.
 *
 * @param context where it happened; must hold no secret
 */
export const asWarehouseError = (thrown: unknown, context: ErrorDetail = {}): WarehouseError => {
  if (thrown instanceof WarehouseError) {
    return Object.keys(context).length === 0 ? thrown : withDetail(thrown, context);
  }
  const error = unfold(thrown);
  const { kind, remedy, sqlstate } = verdictOf(error);
  if (!isServerError(error)) {
    return new WarehouseError(
      kind,
      messageOf(error),
      { ...context, ...(sqlstate !== undefined && { sqlstate }), ...(remedy !== undefined && { remedy }) },
      thrown,
    );
  }
  const advice = remedy ?? error.hint;
  const message = error.detail === undefined ? error.message : `${error.message} (${error.detail})`;
  return new WarehouseError(
    kind,
    message,
    { ...context, ...placeOf(error), sqlstate: error.code, ...(advice !== undefined && { remedy: advice }) },
    thrown,
  );
};
