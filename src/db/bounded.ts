/** A view of a pool that never has more than its share of the connections: whoever wants another one waits its turn. */
import type { PoolClient } from 'pg';
import type { Pool } from './query.ts';

type Callback = (error: Error | undefined, client: PoolClient | undefined, done: () => void) => void;

/** Connections of a pool that are out through a view, and what is done when they are back. */
type Lent = Map<PoolClient, () => void>;

const LENT = new WeakMap<Pool, Lent>();

/** One listener for all views of a pool, however many there are. */
const lentOf = (pool: Pool): Lent => {
  const known = LENT.get(pool);
  if (known !== undefined) return known;
  const lent: Lent = new Map();
  LENT.set(pool, lent);
  pool.on('release', (_error, client) => {
    const giveBack = lent.get(client);
    lent.delete(client);
    giveBack?.();
  });
  return lent;
};

/**
 * A view to be used like the pool, but not to be ended: no more than `most` connections are borrowed through it at once. The pool itself fails a wait after its time limit;
 * a wait for a turn has none, since it ends with the work of another user of the same view.
 */
export const boundedPool = (pool: Pool, most: number): Pool => {
  const out = lentOf(pool);
  const waiting: (() => void)[] = [];
  let free = most;
  const giveBack = (): void => {
    const next = waiting.shift();
    if (next === undefined) free++;
    else next();
  };
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
      out.set(client, giveBack);
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
        else out.set(client, giveBack);
        callback(error, client, done);
      }),
    );
    return undefined;
  };
  return Object.assign(Object.create(pool) as Pool, { connect: connect as Pool['connect'] });
};
