/** A transaction that stays open between calls, for writers that learn only later when to commit. */
import type { Socket } from 'node:net';
import type pg from 'pg';
import { asWarehouseError } from './errors.ts';
import { borrowClient, commitTransaction } from './pool.ts';
import type { Client, Pool } from './query.ts';

/** An open transaction on a connection of its own; end it by exactly one of `commit` and `rollback`. */
export interface Transaction {
  readonly client: Client;
  /** @throws WarehouseError when the server did not confirm; it may then be committed or not: read the ledger to know. */
  commit(): Promise<void>;
  /** Never throws: a connection that cannot roll back is closed, which rolls back too. */
  rollback(): Promise<void>;
}

/**
 * Opens a transaction. When its connection breaks, the next statement on it fails.
 *
 * @throws WarehouseError `connection` when there is none to be had
 */
export const beginTransaction = async (pool: Pool): Promise<Transaction> => {
  const { client, release } = await borrowClient(pool);
  const commit = async (): Promise<void> => {
    try {
      await commitTransaction(client);
    } catch (thrown) {
      throw asWarehouseError(thrown);
    } finally {
      release();
    }
  };
  const rollback = async (): Promise<void> => {
    await client.query('rollback').catch(() => undefined);
    release();
  };
  await client.query('begin').catch((thrown: unknown) => {
    release();
    throw asWarehouseError(thrown);
  });
  return { client, commit, rollback };
};

/** Bytes this connection has sent to the server since it was opened. */
export const bytesSent = (client: Client): number =>
  ((client as unknown as pg.Client).connection.stream as Socket).bytesWritten;
