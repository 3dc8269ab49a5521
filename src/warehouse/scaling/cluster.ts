/** How a Citus cluster is filled: nodes, shards, balance, and whether to move shards. Seen from its coordinator. */
import { sql } from 'kysely';
import { on, type Client } from '../../db/query.ts';
import type { Finding } from '../finding.ts';

/** A node that may hold shards. */
export interface ClusterNode {
  readonly node: string;
  readonly active: boolean;
  readonly takes_shards: boolean;
  readonly shards: number;
  readonly bytes: number;
}

/** One shard of the warehouse: the same range of hashes of every table that is spread with `balance_changes`, weeks among them. */
export interface ClusterShard {
  readonly node: string;
  readonly from_hash: number;
  readonly bytes: number;
  readonly tables: number;
}

/** The cluster as it is. */
export interface ClusterFacts {
  readonly citus: string;
  readonly nodes: readonly ClusterNode[];
  readonly shards: readonly ClusterShard[];
  /** Tables that logical replication cannot take along, for want of a key or of WAL: shards move only while writers wait. */
  readonly keyless: number;
}

/** What is advised, with the statements for it. */
export interface ClusterAdvice {
  readonly findings: readonly Finding[];
  /** Empty where there is nothing to do. */
  readonly statements: readonly string[];
}

/** Whether `balance_changes` is spread over a Citus cluster here. */
export const isCluster = async (client: Client): Promise<boolean> => {
  const { rows } = await sql<{
    known: boolean;
  }>`select to_regclass('pg_catalog.pg_dist_partition') is not null as known`.execute(on(client));
  if (rows[0]?.known !== true) return false;
  const { rows: found } = await sql<{ spread: boolean }>`
    select exists (select from pg_dist_partition where logicalrelid = to_regclass('strata.balance_changes')) as spread`.execute(
    on(client),
  );
  return found[0]?.spread === true;
};

/** Reads it. Sizes come from the workers, so the user must be able to log in there. */
export const readClusterFacts = async (client: Client): Promise<ClusterFacts> => {
  const { rows: shards } = await sql<ClusterShard>`
    select s.nodename || ':' || s.nodeport as node, p.shardminvalue::int as from_hash, coalesce(sum(s.shard_size), 0)::bigint as bytes, count(*)::int as tables
      from citus_shards s
      join pg_dist_shard p using (shardid)
      join pg_dist_partition d on d.logicalrelid = p.logicalrelid
     where d.partmethod = 'h'
       and d.colocationid = (select colocationid from pg_dist_partition where logicalrelid = 'strata.balance_changes'::regclass)
     group by 1, 2 order by 2`.execute(on(client));
  const { rows: nodes } = await sql<{ node: string; active: boolean; takes_shards: boolean }>`
    select nodename || ':' || nodeport as node, isactive as active, shouldhaveshards as takes_shards
      from pg_dist_node where noderole = 'primary' order by groupid`.execute(on(client));
  const { rows: counted } = await sql<{ citus: string; keyless: number }>`
    select (select extversion from pg_extension where extname = 'citus') as citus,
           (select count(*)::int from pg_dist_partition d join pg_class c on c.oid = d.logicalrelid
             where d.partmethod = 'h' and c.relkind = 'r' and (c.relpersistence = 'u' or c.relreplident <> 'f'
               and not exists (select from pg_index i where i.indrelid = c.oid and (i.indisprimary or i.indisreplident)))) as keyless`.execute(
    on(client),
  );
  return {
    ...counted[0]!,
    shards,
    nodes: nodes
      .map((node) => {
        const own = shards.filter((shard) => shard.node === node.node);
        return { ...node, shards: own.length, bytes: total(own) };
      })
      .filter(({ takes_shards, shards }) => takes_shards || shards > 0),
  };
};

/** A node this much fuller than the mean is worth moving shards for. */
const UNEVEN = 1.2;
/** A shard this much fuller than the mean holds a hot account, or several. */
const HOT = 2;
/** Below this, nothing is worth moving. */
const BYTES_MIN = 1_000_000_000;

/**
 * Judges it.
 *
 * @param bytesMin shards are not worth moving in a smaller cluster
 */
export const adviseCluster = (
  { nodes, shards, keyless }: ClusterFacts,
  bytesMin = BYTES_MIN,
): ClusterAdvice => {
  const away = nodes.filter(({ active }) => !active);
  const takers = nodes.filter(({ takes_shards }) => takes_shards);
  const all = total(shards);
  const mean = all / Math.max(1, takers.length);
  const fullest = takers.toSorted((a, b) => b.bytes - a.bytes)[0];
  const empty = takers.filter((node) => node.shards === 0);
  const shardMean = all / Math.max(1, shards.length);
  const hot = shards.filter(({ bytes }) => bytes > shardMean * HOT).toSorted((a, b) => b.bytes - a.bytes);
  const ratio = fullest === undefined || mean === 0 ? 1 : fullest.bytes / mean;
  // One shard that is larger than a node's part cannot be evened out by moving.
  const movable =
    fullest !== undefined && fullest.shards > 1 && all >= bytesMin && (ratio > UNEVEN || empty.length > 0);
  const few = shards.length < takers.length;
  return {
    findings: [
      away.length > 0
        ? {
            check: 'nodes',
            state: 'fault',
            says: `${away.map(({ node }) => node).join(', ')} away: whatever touches their shards fails`,
            remedy: 'Bring them back, or let a standby take their place: citus_update_node.',
          }
        : { check: 'nodes', state: 'ok', says: `${takers.length} nodes take shards, all active` },
      few
        ? {
            check: 'shards',
            state: 'warning',
            says: `${shards.length} shards for ${takers.length} nodes: some stay empty`,
            remedy:
              'More shards need a new cluster, or citus split functions: choose them before the first load.',
          }
        : { check: 'shards', state: 'ok', says: `${shards.length} shards, ${(all / 1e9).toFixed(2)} GB` },
      movable
        ? {
            check: 'balance',
            state: 'warning',
            says: `${fullest.node} holds ${ratio.toFixed(2)} times the mean${empty.length > 0 ? `, ${empty.map(({ node }) => node).join(', ')} nothing` : ''}`,
            remedy: `Rebalance, then run \`pgstrata migrate\`${keyless > 0 ? `; ${keyless} tables have no key or no WAL, so writers wait while a shard moves` : ''}.`,
          }
        : {
            check: 'balance',
            state: 'ok',
            says: `the fullest node holds ${ratio.toFixed(2)} times the mean${ratio > UNEVEN ? ', which is not worth moving yet' : ''}`,
          },
      hot.length > 0
        ? {
            check: 'hot shards',
            state: 'warning',
            says: `${hot.length} of ${shards.length} shards are over ${HOT} times the mean, the fullest ${(hot[0]!.bytes / shardMean).toFixed(1)} times`,
            remedy:
              'Moving it gives it a node of its own at best; see which account it is, and isolate_tenant_to_new_shard gives that one a shard of its own.',
          }
        : { check: 'hot shards', state: 'ok', says: `no shard is over ${HOT} times the mean` },
    ],
    statements: movable
      ? [
          "select * from get_rebalance_table_shards_plan(rebalance_strategy => 'by_disk_size')",
          `select citus_rebalance_start(rebalance_strategy => 'by_disk_size', shard_transfer_mode => '${keyless > 0 ? 'block_writes' : 'auto'}')`,
          'select job_id, state, details from citus_rebalance_status()',
        ]
      : [],
  };
};

const total = (parts: readonly { readonly bytes: number }[]): number =>
  parts.reduce((sum, { bytes }) => sum + bytes, 0);
