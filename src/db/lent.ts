/** A view of a pool that knows which of its connections are in use, so that what they are doing can be cancelled. */
import type { PoolClient } from 'pg';
import { cancelStatement } from './cancel.ts';
import type { Pool } from './query.ts';

/** The view; connections taken from the pool itself, or from another view, are none of its business. */
export interface LentView {
  /** To be used like the pool, but not to be ended. */
  readonly pool: Pool;
  /** Cancels the running statement of every connection lent through this view. */
  cancel(): Promise<void>;
  /** Stops watching; connections that are out stay out. */
  forget(): void;
}

type Callback = (error: Error | undefined, client: PoolClient | undefined, done: () => void) => void;

/** Watches what is lent through the view. */
export const watchLent = (pool: Pool): LentView => {
  const out = new Set<PoolClient>();
  const onBack = (_error: unknown, client: PoolClient): void => {
    out.delete(client);
  };
  pool.on('release', onBack);
  const lend = async (): Promise<PoolClient> => {
    const client = await pool.connect();
    out.add(client);
    return client;
  };
  // pool.query() borrows by callback from its own `connect`, so the view's is used by it too.
  const connect = (callback?: Callback): Promise<PoolClient> | undefined => {
    if (callback === undefined) return lend();
    pool.connect((error, client, done) => {
      if (client !== undefined) out.add(client);
      callback(error, client, done);
    });
    return undefined;
  };
  const view = Object.assign(Object.create(pool) as Pool, { connect: connect as Pool['connect'] });
  return {
    pool: view,
    cancel: async () => {
      await Promise.all([...out].map(cancelStatement));
    },
    forget: () => {
      pool.off('release', onBack);
    },
  };
};
