/** Where the ledger of a network begins and ends, and whether what is committed side by side is of one chain. */
import { sql } from 'kysely';
import type { BlockRange } from '../chain/range.ts';
import { on, type Client, type Pool } from '../db/query.ts';
import { WarehouseError } from '../runtime/errors.ts';

/** Where the ledger of a network begins and ends. */
export interface LedgerEnds {
  readonly first: number;
  readonly last: number;
  /** Hash of block `last`, where it is known. */
  readonly hash: string | null;
}

/** The ends of what is loaded of one network; null when nothing is. */
export const ledgerEnds = async (pool: Pool, stream: string, network: string): Promise<LedgerEnds | null> => {
  const { rows } = await sql<LedgerEnds>`
    select first.start_block as "first", last.end_block as "last", last.hash
      from strata.sources src
      cross join lateral (select b.start_block from strata.stream_batches b where b.source_id = src.source_id order by b.start_block limit 1) first
      cross join lateral (select b.end_block, b.hash from strata.stream_batches b where b.source_id = src.source_id order by b.start_block desc limit 1) last
     where src.stream = ${stream} and src.network = ${network}`.execute(on(pool));
  return rows[0] ?? null;
};

/**
 * Refuses a range, whose ledger row is written already, beside ranges that overlap it or are of another fork: the parent that one
 * names is not the block the other ends in. Hashes the server did not give prove nothing.
 *
 * @throws WarehouseError `conflict` for an overlap, `protocol` for another fork
 */
export const requireNeighbours = async (
  client: Client,
  sourceId: number,
  range: BlockRange,
): Promise<void> => {
  const { network, start, end, hash, prevHash } = range;
  if (hash !== '' || prevHash !== null) {
    // Two neighbours that are committed at one moment must not both find nobody there.
    await sql`select pg_advisory_xact_lock(hashtextextended('pgstrata ledger ' || ${sourceId}::text, 0))`.execute(
      on(client),
    );
  }
  const { rows } = await sql<{ overlaps: boolean; at: number; parent: string; before: string }>`
    select b.start_block <= ${end} and b.end_block >= ${start} as overlaps,
           case when b.end_block < ${start} then b.end_block else ${end} end as at,
           case when b.end_block < ${start} then ${prevHash} else b.prev_hash end as parent,
           case when b.end_block < ${start} then b.hash else ${hash} end as before
      from strata.stream_batches b
     where b.source_id = ${sourceId} and b.start_block <> ${start}
       and b.start_block <= ${end} + 1 and b.end_block >= ${start} - 1`.execute(on(client));
  if (rows.some((row) => row.overlaps)) {
    throw new WarehouseError('conflict', `part of the blocks ${start}–${end} was loaded meanwhile`, {
      network,
      block: start,
      remedy: 'Nothing of them was committed. Start again: what is loaded is left out.',
    });
  }
  const forked = rows.find(
    ({ parent, before }) => parent !== null && before !== null && before !== '' && parent !== before,
  );
  if (forked === undefined) return;
  throw forkedAt(
    network,
    forked.at,
    `blocks ${start}–${end} do not join what is loaded: block ${forked.at} is ${forked.before} on one side, ${forked.parent} on the other`,
  );
};

/** A fork that was met while history is loaded; passes by itself, for whoever starts over takes back what has left the chain. */
export const forkedAt = (network: string, block: number, what: string): WarehouseError =>
  new WarehouseError('protocol', what, {
    network,
    block,
    // As where two transactions do not go together: whoever starts over finds one of them taken back.
    sqlstate: '40001',
    remedy:
      'The chain forked further back than `parallel.reorg_buffer`. Start again: what has left the chain is taken back.',
  });
