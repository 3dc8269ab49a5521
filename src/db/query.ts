/** Typed queries on whatever connection is at hand: the pool, or the one that holds a transaction. */
import { Kysely, PostgresDialect } from 'kysely';
import type pg from 'pg';
import type { DB } from './schema.ts';

/** A pool of connections. */
export type Pool = pg.Pool;
/** One connection, in or out of a transaction. */
export type Client = pg.ClientBase;

/** Kysely whose every query runs on this one connection; it neither opens nor releases anything. */
export const on = (client: Client | Pool): Kysely<DB> =>
  new Kysely<DB>({
    dialect: new PostgresDialect({
      pool: {
        connect: () => Promise.resolve({ query: client.query.bind(client), release: () => undefined }),
        end: () => Promise.resolve(),
        options: {},
      },
    }),
  });
