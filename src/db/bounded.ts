/** A view of a pool that never has more than its share of the connections: whoever wants another one waits its turn. */
import type { PoolClient } from 'pg';
import type { Pool } from './query.ts';

/** The view. */
export interface BoundedView {
  /** To be used like the pool, but not to be ended. */
  readonly pool: Pool;
  /** Stops counting; connections that are out stay out. */
  forget(): void;
}

type Callback = (error: Error | undefined, client: PoolClient | undefined, done: () => void) => void;

/**
 * Bounds what is borrowed through the view to `most` connections at once. The pool itself fails a wait after its time limit;
 * a wait for a turn has none, since it ends with the work of another user of the same view.
 */
export const boundedPool = (pool: Pool, most: number): BoundedView => {
  const out = new Set<PoolClient>();
  const waiting: (() => void)[] = [];
  let free = most;
  const giveBack = (): void => {
    const next = waiting.shift();
    if (next === undefined) free++;
    else next();
  };
  const onBack = (_error: unknown, client: PoolClient): void => {
    if (out.delete(client)) giveBack();
  };
  pool.on('release', onBack);
  const whenFree = (go: () => void): void => {
    if (free === 0) {
      waiting.push(go);
      return;
    }
    free--;
    go();
  };
  const lend = async (): Promise<PoolClient> => {
    await new Promise<void>((resolve) => whenFree(resolve));
    try {
      const client = await pool.connect();
      out.add(client);
      return client;
    } catch (error) {
      giveBack();
      throw error;
    }
  };
  // pool.query() borrows by callback from its own `connect`, so the view's is used by it too.
  const connect = (callback?: Callback): Promise<PoolClient> | undefined => {
    if (callback === undefined) return lend();
    whenFree(() =>
      pool.connect((error, client, done) => {
        if (client === undefined) giveBack();
        else out.add(client);
        callback(error, client, done);
      }),
    );
    return undefined;
  };
  return {
    pool: Object.assign(Object.create(pool) as Pool, { connect: connect as Pool['connect'] }),
    forget: () => {
      pool.off('release', onBack);
    },
  };
};
