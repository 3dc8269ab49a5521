/** A pool that dies, all connections at once, at its n-th statement. */
import type { Socket } from 'node:net';
import type { ClientBase } from 'pg';
import { createPool } from '../../src/db/pool.ts';
import type { Pool } from '../../src/db/query.ts';

type Wire = ClientBase & { readonly connection: { readonly stream: Socket } };
type Query = (...args: unknown[]) => unknown;

/** `sent` lets the last statement reach the server; `max` is as of any pool. */
export const dyingPool = (url: string, n: number, sent: boolean, max = 6): Pool => {
  const pool = createPool(url, { max, applicationName: 'to die' });
  const wires: Wire[] = [];
  let statements = 0;
  const die = (): void => {
    for (const { connection } of wires) connection.stream.destroy();
  };
  pool.on('connect', (client) => {
    const wire = client as unknown as Wire;
    wires.push(wire);
    const query = client.query.bind(client) as unknown as Query;
    const counted: Query = (...args) => {
      statements += 1;
      if (statements < n) return query(...args);
      if (!sent) die();
      const answer = query(...args);
      if (sent) {
        wire.connection.stream.pause();
        wire.connection.stream.write('', die);
      }
      return answer;
    };
    Object.assign(client, { query: counted });
  });
  return pool;
};
