/** A pool whose next transaction loses its connection at a chosen statement, as when the process or the network dies. */
import type { Socket } from 'node:net';
import type { PoolClient } from 'pg';
import type { Pool } from '../../src/db/query.ts';

/** Where it dies: statements are counted from `begin`, which is 1; `sent` lets the statement reach the server first. */
export interface Crash {
  readonly at: number;
  readonly sent: boolean;
}

/** What is left of a connection's socket that `pg` does not declare. */
interface Wire {
  readonly connection: { readonly stream: Socket };
}

type Query = (...args: unknown[]) => unknown;

/**
 * The pool with the crash; only connections borrowed one by one, as transactions are, are touched, and each only until it is
 * given back: others borrow from the pool too.
 *
 * @param spared how many of these are let go by first
 */
export const crashingPool = (pool: Pool, { at, sent }: Crash, spared = 0): Pool => {
  let statements = 0;
  const arm = (client: PoolClient): void => {
    const query = client.query.bind(client) as Query;
    const release = client.release.bind(client);
    const { stream } = (client as unknown as Wire).connection;
    const counted: Query = (...args) => {
      statements += 1;
      if (statements !== at) return query(...args);
      if (!sent) stream.destroy();
      const answer = query(...args);
      if (sent) {
        stream.pause(); // the answer finds nobody
        stream.write('', () => stream.destroy()); // but what was written has left
      }
      return answer;
    };
    const disarmed: PoolClient['release'] = (broken) => {
      Reflect.deleteProperty(client, 'query');
      release(broken);
    };
    Object.assign(client, { query: counted, release: disarmed });
  };
  let borrowed = 0;
  const connect = async (): Promise<PoolClient> => {
    const client = await pool.connect();
    if (borrowed++ >= spared && statements < at) arm(client);
    return client;
  };
  return Object.create(pool, {
    connect: {
      writable: true, // a bound on top of it puts its own there
      value: (callback?: never) => (callback === undefined ? connect() : pool.connect(callback)),
    },
  }) as Pool;
};
