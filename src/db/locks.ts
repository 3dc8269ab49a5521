/** Advisory locks by name: of a session, which notices when its connection dies, or of a transaction. */
import { createHash } from 'node:crypto';

import type { ClientBase } from 'pg';

import { WarehouseError } from '../runtime/errors.ts';
import { asWarehouseError } from './errors.ts';

/** How long to wait for a lock when the caller names no limit; long enough for a migration. */
const LOCK_WAIT_LIMIT_MS = 600_000;

/** Shared locks go together; an exclusive one goes with no other. */
export type LockMode = 'exclusive' | 'shared';

/** How a lock is taken. */
export interface LockOptions {
  readonly mode?: LockMode;
  /** How long to wait for it, in milliseconds; ten minutes. */
  readonly waitMs?: number;
}

/**
 * The key of a lock: the first 8 bytes of SHA-256 over its name, the same on every machine.
 *
 * @example advisoryKey('migrate') // 858082333959045737n
 */
export const advisoryKey = (name: string): bigint =>
  createHash('sha256').update(`pgstrata:${name}`).digest().readBigInt64BE(0);

const suffixOf = (mode: LockMode): string => (mode === 'shared' ? '_shared' : '');

/** The lock's holder as `pg_locks` shows it, for a message that says whom to ask. */
const describeHolder = async (client: ClientBase, key: bigint): Promise<string> => {
  const { rows } = await client.query<{ pid: number; application: string | null }>(
    `select a.pid, a.application_name as application
       from pg_catalog.pg_locks l
       join pg_catalog.pg_database d on d.oid = l.database and d.datname = pg_catalog.current_database()
       join pg_catalog.pg_stat_activity a on a.pid = l.pid
      where l.locktype = 'advisory' and l.objsubid = 1 and l.granted
        and ((l.classid::bigint << 32) | l.objid::bigint) = $1::bigint
      limit 1`,
    [key.toString()],
  );
  const holder = rows[0];
  return holder === undefined
    ? 'another session'
    : `${holder.application ?? 'a session'} (pid ${holder.pid})`;
};

/** Calls a lock function with a bounded wait; the session's own `lock_timeout` is as before afterwards. */
const acquire = async (
  client: ClientBase,
  name: string,
  lockFunction: 'pg_advisory_lock' | 'pg_advisory_xact_lock',
  { mode = 'exclusive', waitMs = LOCK_WAIT_LIMIT_MS }: LockOptions,
): Promise<void> => {
  const key = advisoryKey(name);
  const { rows } = await client.query<{ before: string }>(
    "select pg_catalog.current_setting('lock_timeout') as before, pg_catalog.set_config('lock_timeout', $1, false)",
    [`${waitMs}ms`],
  );
  const restore = async (): Promise<void> => {
    await client.query("select pg_catalog.set_config('lock_timeout', $1, false)", [rows[0]?.before ?? '0']);
  };
  try {
    await client.query(`select pg_catalog.${lockFunction}${suffixOf(mode)}($1::bigint)`, [key.toString()]);
  } catch (thrown) {
    const error = asWarehouseError(thrown);
    // A failed transaction takes its settings back by itself, and answers no more questions.
    const usable = client.getTransactionStatus() === 'I';
    if (usable) await restore();
    if (error.detail.sqlstate !== '55P03') throw error;
    const holder = usable ? await describeHolder(client, key) : 'another session';
    throw new WarehouseError(
      'conflict',
      `The lock "${name}" is held by ${holder}; waited ${waitMs} ms.`,
      { sqlstate: '55P03', remedy: 'Wait for it to finish, or stop that process.' },
      thrown,
    );
  }
  await restore();
};

/**
 * Takes the session's lock `name` if it is free. Locks stack: release as often as taken.
 *
 * @returns whether we hold it now
 */
export const tryAdvisoryLock = async (
  client: ClientBase,
  name: string,
  mode: LockMode = 'exclusive',
): Promise<boolean> => {
  const { rows } = await client.query<{ held: boolean }>(
    `select pg_catalog.pg_try_advisory_lock${suffixOf(mode)}($1::bigint) as held`,
    [advisoryKey(name).toString()],
  );
  return rows[0]?.held === true;
};

/** Gives the session's lock `name` back. */
export const releaseAdvisoryLock = async (
  client: ClientBase,
  name: string,
  mode: LockMode = 'exclusive',
): Promise<void> => {
  await client.query(`select pg_catalog.pg_advisory_unlock${suffixOf(mode)}($1::bigint)`, [
    advisoryKey(name).toString(),
  ]);
};

/**
 * Takes the lock `name` until the end of the current transaction.
 *
 * @throws WarehouseError `conflict`, naming the holder, when the wait is over
 */
export const lockInTransaction = (
  client: ClientBase,
  name: string,
  options: LockOptions = {},
): Promise<void> => acquire(client, name, 'pg_advisory_xact_lock', options);

/**
 * Aborts when the client's connection dies, and with it every lock of its session. Call `forget` when it no longer
 * matters.
 */
export const connectionLoss = (client: ClientBase): { readonly signal: AbortSignal; forget(): void } => {
  const controller = new AbortController();
  const onLoss = (cause?: Error): void => {
    controller.abort(
      new WarehouseError(
        'connection',
        'The connection that held a lock was lost.',
        { sqlstate: asWarehouseError(cause).detail.sqlstate ?? '08006' },
        cause,
      ),
    );
  };
  client.on('error', onLoss);
  client.on('end', onLoss);
  return {
    signal: controller.signal,
    forget: () => {
      client.off('error', onLoss);
      client.off('end', onLoss);
    },
  };
};

/**
 * Runs `work` while this session holds the lock `name`, waiting for it first. Whoever works longer than one statement
 * watches `signal`: it aborts when the connection dies, for then somebody else may hold the lock.
 *
 * @throws WarehouseError `conflict` when the wait is over; whatever `work` threw
 */
export const withAdvisoryLock = async <T>(
  client: ClientBase,
  name: string,
  work: (signal: AbortSignal) => Promise<T>,
  options: LockOptions = {},
): Promise<T> => {
  await acquire(client, name, 'pg_advisory_lock', options);
  const loss = connectionLoss(client);
  try {
    return await work(loss.signal);
  } finally {
    loss.forget();
    // A dead session holds no lock; one in a failed transaction cannot say so until its owner rolls back.
    if (!loss.signal.aborted) await releaseAdvisoryLock(client, name, options.mode).catch(() => undefined);
  }
};
