/** Asks a server to stop what one of our sessions is doing, over a connection made for that. */
import { connect } from 'node:net';

import type { ClientBase, QueryResult, QueryResultRow } from 'pg';

const CANCEL_LIMIT_MS = 5_000;
const CANCEL_REQUEST_CODE = 80_877_102;

/** What PostgreSQL told the session at its start; `pg` keeps it on the client without declaring it. */
interface SessionKey {
  readonly processID: number | null;
  readonly secretKey: number | null;
  readonly host?: string;
  readonly port?: number;
}

/**
 * Sends a CancelRequest for the client's running statement and returns when the server has taken it; what comes of
 * it, the client learns as an error 57014. Never fails: a request that cannot be sent changes nothing.
 */
export const cancelStatement = (client: ClientBase): Promise<void> => {
  const { processID, secretKey, host, port } = client as unknown as SessionKey;
  if (processID === null || secretKey === null) return Promise.resolve();
  const request = Buffer.alloc(16);
  request.writeInt32BE(request.length, 0);
  request.writeInt32BE(CANCEL_REQUEST_CODE, 4);
  request.writeInt32BE(processID, 8);
  request.writeInt32BE(secretKey, 12);
  const at =
    host?.startsWith('/') === true
      ? { path: `${host}/.s.PGSQL.${port ?? 5432}` }
      : { host, port: port ?? 5432 };
  return new Promise((resolve) => {
    const socket = connect(at as { host: string; port: number });
    socket.setTimeout(CANCEL_LIMIT_MS, () => socket.destroy());
    socket.on('error', () => undefined);
    socket.once('close', () => resolve());
    socket.once('connect', () => socket.end(request));
    socket.resume();
  });
};

/**
 * Runs a statement that is cancelled on the server when the signal aborts, however long it would have taken.
 *
 * @throws what the server says, an error 57014 when it was cancelled
 */
export const queryUntil = async <Row extends QueryResultRow>(
  client: ClientBase,
  text: string,
  signal: AbortSignal,
): Promise<QueryResult<Row>> => {
  signal.throwIfAborted();
  const cancel = (): void => void cancelStatement(client);
  signal.addEventListener('abort', cancel, { once: true });
  try {
    return await client.query<Row>(text);
  } finally {
    signal.removeEventListener('abort', cancel);
  }
};
