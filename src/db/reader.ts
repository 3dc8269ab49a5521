/** Reading on behalf of others: as the reader role, in transactions that cannot write, never longer than allowed. */
import { asWarehouseError, sqlstateOf } from './errors.ts';
import { withClient, withTransaction } from './pool.ts';
import type { Client, Pool } from './query.ts';

/** Runs work on one snapshot that nothing can be written in. */
export interface Reader {
  /**
   * @param limit_ms how long each statement of `work` may take
   * @throws WarehouseError what `work` failed with; one that took too long is `cancelled`, sqlstate 57014
   */
  read<T>(work: (client: Client) => Promise<T>, limit_ms?: number): Promise<T>;
  /** The role it reads as; null where it reads as the connection's user: see `advice`. */
  role(): Promise<string | null>;
  /** Why it reads as the connection's user, and what to do; null where it reads as the reader role. */
  advice(): Promise<string | null>;
}

/** The group role that may only read; see strata.grant_roles(). */
const READER_ROLE = 'strata_reader';

/** How long a statement may take, in milliseconds, unless it is said otherwise. */
const STATEMENT_LIMIT_MS = 5000;

/** Nothing that is read is worth standing in the way of maintenance. */
const LOCK_LIMIT_MS = 1000;

/** SQLSTATEs of a role that is not there (22023), or not ours to take (42501). */
const NO_ROLE: ReadonlySet<string | undefined> = new Set(['22023', '42501']);

/** A reader on the connections of `pool`. */
export const createReader = (pool: Pool): Reader => {
  let known: ReaderRole | undefined;
  const find = async (): Promise<ReaderRole> => (known ??= await findRole(pool));
  const role = async (): Promise<string | null> => (await find()).role;
  const settings = (as: string | null, limit_ms: number): string =>
    [
      ...(as === null ? [] : [`set local role ${as}`]),
      `set local statement_timeout = ${Math.max(1, Math.round(limit_ms))}`,
      `set local lock_timeout = ${LOCK_LIMIT_MS}`,
    ].join('; ');
  return {
    role,
    advice: async () => (await find()).advice,
    read: async (work, limit_ms = STATEMENT_LIMIT_MS) => {
      const as = await role();
      return withTransaction(
        pool,
        async (client) => {
          await client.query(settings(as, limit_ms));
          return work(client);
        },
        { isolation: 'repeatable read', readOnly: true },
      );
    },
  };
};

/** The role to read as, else why not. */
interface ReaderRole {
  readonly role: string | null;
  readonly advice: string | null;
}

const findRole = (pool: Pool): Promise<ReaderRole> =>
  withClient(pool, async (client) => {
    try {
      await client.query(`set role ${READER_ROLE}`);
    } catch (thrown) {
      if (!NO_ROLE.has(sqlstateOf(thrown))) throw asWarehouseError(thrown);
      return { role: null, advice: `reads as its own user: grant it ${READER_ROLE}` };
    }
    await client.query('reset role');
    if (await mayReachNodes(client)) return { role: READER_ROLE, advice: null };
    return {
      role: null,
      advice: `reads as its own user, because ${READER_ROLE} may not log in to the nodes of the cluster`,
    };
  });

/** Where tables lie on a cluster, Citus logs in to its nodes as the role that reads: whether the reader role can. */
export const mayReachNodes = async (client: Client): Promise<boolean> => {
  const { rows } = await client.query<{ login: boolean; cluster: boolean }>(
    `select coalesce((select rolcanlogin from pg_roles where rolname = '${READER_ROLE}'), false) as login,
            exists (select from pg_class c join pg_namespace n on n.oid = c.relnamespace
                     where n.nspname = 'strata' and c.relname = 'shards') as cluster`,
  );
  const [found] = rows;
  return found === undefined || found.login || !found.cluster;
};
