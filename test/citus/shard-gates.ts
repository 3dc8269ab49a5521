/** Gates on a worker, at which what runs in its shards waits until the test has done its worst. */
import { Client } from 'pg';
import { until } from '../db/until.ts';
import { nodeUrl, type ClusterNode } from './cluster.ts';

/** A closed gate. */
export interface Gate {
  /** Returns when somebody waits at it. */
  readonly reached: () => Promise<void>;
  /** Opens it; a gate whose worker has died is open. */
  readonly open: () => Promise<void>;
}

/** A session on a worker that may die with it. */
const openSession = async (url: string, node: ClusterNode): Promise<Client> => {
  const client = new Client({ connectionString: nodeUrl(url, node, new URL(url).pathname.slice(1)) });
  client.on('error', () => undefined);
  await client.connect();
  return client;
};

const gateOf = (client: Client, reached: Gate['reached']): Gate => ({
  reached,
  open: async () => {
    await client.query('rollback; select pg_advisory_unlock_all()').catch(() => undefined);
    await client.end().catch(() => undefined);
  },
});

/** A fold in one of the worker's shards waits before it writes the state. */
export const holdState = async (url: string, node: ClusterNode): Promise<Gate> => {
  const client = await openSession(url, node);
  const { rows } = await client.query<{ state: string }>(
    `select shard_name(s.logicalrelid, s.shardid) as state
       from pg_dist_shard s join pg_dist_placement p using (shardid) join pg_dist_node n using (groupid)
      where s.logicalrelid = 'strata.account_balances_current'::regclass and n.nodeport = $1 limit 1`,
    [node.port],
  );
  const { state } = rows[0]!;
  await client.query(
    `set citus.enable_manual_changes_to_shards = on; begin; lock table ${state} in share mode`,
  );
  return gateOf(client, () =>
    until('a fold to wait in a shard', async () => {
      const waiting = await client.query(
        'select from pg_locks where not granted and relation = $1::regclass',
        [state],
      );
      return (waiting.rowCount ?? 0) > 0;
    }).then(() => undefined),
  );
};

const GATE_KEY = 7_265_003;

/** A transaction that wrote in one of the worker's shards waits in the first phase of its commit; the other workers are through with it. */
export const holdPrepare = async (url: string, node: ClusterNode, other: ClusterNode): Promise<Gate> => {
  const client = await openSession(url, node);
  const watcher = await openSession(url, other);
  await client.query(
    'set citus.enable_ddl_propagation = off; set citus.enable_manual_changes_to_shards = on',
  );
  await client.query(
    `create or replace function public.wait_at_gate() returns trigger language plpgsql
       as $$ begin perform pg_advisory_xact_lock_shared(${GATE_KEY}); return null; end $$`,
  );
  const { rows } = await client.query<{ shard: string }>(
    `select shard_name(s.logicalrelid, s.shardid) as shard
       from pg_dist_shard s join pg_dist_placement p using (shardid) join pg_dist_node n using (groupid)
      where s.logicalrelid = 'strata.shards'::regclass and n.nodeport = $1 limit 1`,
    [node.port],
  );
  const { shard } = rows[0]!;
  await client.query(
    `drop trigger if exists gate on ${shard};
     create constraint trigger gate after update on ${shard} deferrable initially deferred for each row execute function public.wait_at_gate()`,
  );
  await client.query(`select pg_advisory_lock(${GATE_KEY})`);
  const gate = gateOf(client, () =>
    until('the other worker to have prepared', async () => {
      const prepared = await watcher.query(
        'select from pg_prepared_xacts where database = current_database()',
      );
      return (prepared.rowCount ?? 0) > 0;
    }).then(() => undefined),
  );
  return {
    ...gate,
    open: async () => {
      await gate.open();
      await watcher.end().catch(() => undefined);
    },
  };
};
