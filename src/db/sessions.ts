/** The sessions of one try of a stream: named, watched, and cut all at once when the other side has gone silent. */
import type { Socket } from 'node:net';
import type { Client, PoolClient } from 'pg';
import { WarehouseError } from '../runtime/errors.ts';
import type { Clock } from '../runtime/resilience.ts';
import { createPool, type PoolOptions } from './pool.ts';
import type { Pool } from './query.ts';

/** How to reach the database, but for what each group says for itself. */
export interface DatabaseAddress {
  readonly url: string;
  readonly options: Omit<PoolOptions, 'max' | 'applicationName'>;
}

/** Sessions that live and die together. */
export interface SessionGroup {
  readonly pool: Pool;
  /** Their application_name, which no other group has. */
  readonly name: string;
  /** Hangs up on all of them: whatever runs on them fails as a lost connection. */
  readonly cut: () => void;
  /** Closes them when nothing runs on them any more. */
  readonly end: () => Promise<void>;
  /** Server processes that owe us an answer and have not exchanged a byte with us since this was last asked. */
  readonly silent: () => readonly number[];
}

/** PostgreSQL keeps this much of an application_name. */
const NAME_BYTES_MAX = 63;

/** How long a server may take to say goodbye, in milliseconds. */
const GOODBYE_MS = 1000;

/** How long a server that is asked about its sessions may think, in milliseconds. */
const ASK_LIMIT_MS = 10_000;

/** How long a session that is told to end may take, in milliseconds. */
const END_LIMIT_MS = 10_000;

const socketOf = (client: PoolClient): Socket => (client as unknown as Client).connection.stream as Socket;

/** Whether the client waits for an answer; `pg` does not declare what it knows of that. */
const waits = (client: PoolClient): boolean =>
  (client as { readonly readyForQuery?: boolean }).readyForQuery === false;

/** Opens a group; nothing is dialled before the first use. */
export const openSessions = (address: DatabaseAddress, name: string, max: number): SessionGroup => {
  const applicationName = name.slice(0, NAME_BYTES_MAX);
  const pool = createPool(address.url, { ...address.options, max, applicationName });
  const traffic = new Map<PoolClient, number>();
  pool.on('connect', (client) => traffic.set(client, -1));
  pool.on('remove', (client) => traffic.delete(client));
  let ended: Promise<void> | undefined;
  const hangUp = (): void => {
    for (const client of traffic.keys()) socketOf(client).destroy();
  };
  const close = async (): Promise<void> => {
    // A server that does not take our goodbye must not keep us.
    const late = setTimeout(hangUp, GOODBYE_MS);
    await pool.end();
    clearTimeout(late);
  };
  const end = (): Promise<void> => (ended ??= close());
  return {
    pool,
    name: applicationName,
    end,
    cut: () => {
      hangUp();
      // Comes to its end when the last borrower has let go, which nobody needs to wait for.
      end().catch(() => undefined);
    },
    silent: () => {
      const pids: number[] = [];
      for (const [client, before] of traffic) {
        const { bytesRead, bytesWritten } = socketOf(client);
        const bytes = bytesRead + bytesWritten;
        traffic.set(client, bytes);
        const pid = (client as { readonly processID?: number }).processID;
        if (bytes === before && waits(client) && pid !== undefined) pids.push(pid);
      }
      return pids;
    },
  };
};

/** Runs `work` on a session of its own, and hangs up on a server that lets it wait too long. */
const askApart = async <T>(
  address: DatabaseAddress,
  limit: { readonly clock: Clock; readonly limit_ms: number },
  work: (pool: Pool) => Promise<T>,
): Promise<T> => {
  const group = openSessions(address, 'pgstrata watch', 1);
  const answered = new AbortController();
  const late = limit.clock.sleep(limit.limit_ms, answered.signal).then(() => {
    if (!answered.signal.aborted) group.cut();
    throw new WarehouseError('connection', `PostgreSQL gave no answer within ${limit.limit_ms} ms.`, {
      sqlstate: '08006',
    });
  });
  late.catch(() => undefined);
  try {
    return await Promise.race([work(group.pool), late]);
  } finally {
    answered.abort();
    group.cut();
  }
};

/** Whether the server is at work for all of these sessions; one that waits for us while we wait for it is not. */
const areAtWork = (pool: Pool, pids: readonly number[]): Promise<boolean> =>
  pool
    .query<{ working: number }>(
      `select count(*)::int as working from pg_catalog.pg_stat_activity
        where pid = any($1::int[]) and state = 'active' and wait_event_type is distinct from 'Client'`,
      [pids],
    )
    .then(({ rows }) => rows[0]?.working === pids.length);

/**
 * Looks after a group until the signal aborts: when a session waits for an answer and no byte moves, the server is asked over
 * another connection whether it is at work on it. If it is not, or does not answer, the group is cut.
 *
 * A statement may take as long as it needs; only a connection that is dead without anybody having said so is ended.
 */
export const watchSessions = async (
  group: SessionGroup,
  address: DatabaseAddress,
  { every_ms, clock }: { readonly every_ms: number; readonly clock: Clock },
  signal: AbortSignal,
): Promise<void> => {
  for (;;) {
    await clock.sleep(every_ms, signal);
    if (signal.aborted) return;
    const silent = group.silent();
    if (silent.length === 0) continue;
    const limit = { clock, limit_ms: ASK_LIMIT_MS };
    const atWork = await askApart(address, limit, (pool) => areAtWork(pool, silent)).catch(() => false);
    // What has answered meanwhile was at its end when the server was asked.
    const stillSilent = group.silent().some((pid) => silent.includes(pid));
    if (!atWork && stillSilent && !signal.aborted) group.cut();
  }
};

/**
 * Ends what is left on the server of a group that was cut: it may not have noticed yet, and would hold its locks until
 * it does. Returns when they are gone.
 */
export const endSessions = async (pool: Pool, name: string): Promise<void> => {
  await pool.query(
    `select pg_catalog.pg_terminate_backend(pid, $2) from pg_catalog.pg_stat_activity
      where application_name = $1 and datname = pg_catalog.current_database() and usename = current_user
        and pid <> pg_catalog.pg_backend_pid()`,
    [name, END_LIMIT_MS],
  );
};
