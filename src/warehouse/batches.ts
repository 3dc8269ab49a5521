/** The transaction of a stream: rows, new assets and ledger rows become true together, or not at all. */
import { sql } from 'kysely';
import { batchId } from '../chain/batch-id.ts';
import type { BlockRange } from '../chain/range.ts';
import { beginTransaction, bytesSent, type Transaction } from '../db/transaction.ts';
import { sqlstateOf } from '../db/errors.ts';
import { on, type Client, type Pool } from '../db/query.ts';
import { WarehouseError } from '../runtime/errors.ts';
import type { Dataset, LoadBuffer, RangePlace, SettledEntry } from './datasets.ts';
import { postgresStore } from './state/postgres.ts';
import type { Erasure, LedgerEntry, StateStore } from './state/store.ts';
import { holdClaim, sourceOf, type StreamClaim } from './stream-state.ts';

/** What one commit put into the warehouse. */
export interface Committed {
  readonly ranges: readonly LedgerEntry[];
  readonly rows: number;
  readonly quarantined: number;
  /** Rows that found no label in at least one join; null where the stream joins none. */
  readonly unmatched: number | null;
  /** Those of them that an inner join left out: not among `rows`. */
  readonly dropped: number;
  readonly cost: CommitCost;
}

/** What a commit took, writes of its transaction included. */
export interface CommitCost {
  /** Sent to PostgreSQL while rows were written: what COPY carried, and little beside. */
  readonly bytes: number;
  /** Writing rows: COPY, and staging what the fold needs. */
  readonly copy_ms: number;
  /** Bringing balances up to date and joining labels; the ledger too. */
  readonly fold_ms: number;
  readonly commit_ms: number;
}

/** Writes a stream, one transaction after the other. Calls must not overlap. */
export interface BatchWriter {
  /**
   * The ranges with the identities their rows carry; makes sources of networks met for the first time.
   *
   * @param replayed networks whose rows are loaded already
   */
  place(ranges: readonly BlockRange[], replayed: ReadonlySet<string>): Promise<readonly RangePlace[]>;
  /** Erases blocks, in the open transaction. Returns the rows that are gone. */
  erase(erasure: Erasure): Promise<number>;
  /** Writes rows in the open transaction. */
  write(buffer: LoadBuffer): Promise<void>;
  /** Writes the ledger rows and commits. */
  commit(entries: readonly LedgerEntry[]): Promise<Committed>;
  /** Gives up the open transaction, if there is one. */
  abandon(): Promise<void>;
}

/** Looks at a range whose ledger row is written, before it is committed; what it throws takes everything back. */
export type RangeCheck = (client: Client, sourceId: number, range: BlockRange) => Promise<void>;

/**
 * What Citus says of DDL on tables that this transaction has been to over other connections: it asks the nodes as the owner, in
 * whose name weeks are made, and has asked them as the loader before.
 */
const OTHER_CONNECTIONS = '25001';

/** A writer for the holder of `claim`. */
export const createBatchWriter = (
  pool: Pool,
  claim: StreamClaim,
  dataset: Dataset,
  check?: RangeCheck,
): BatchWriter => {
  const sources = new Map<string, number>();
  let transaction: Transaction | null = null;
  let sets: readonly string[] | null = null;
  let written = { bytes: 0, copy_ms: 0 };

  const open = async (): Promise<Transaction> => {
    if (transaction !== null) return transaction;
    sets ??= await dataset.sets();
    transaction = await beginTransaction(pool);
    await shareGates(transaction.client, sets);
    await holdClaim(transaction.client, claim);
    return transaction;
  };
  const sourceId = async (network: string): Promise<number> => {
    const found = sources.get(network) ?? (await sourceOf(pool, claim.stream, network));
    sources.set(network, found);
    return found;
  };

  /**
   * Does `work` in the open transaction. Where Citus cannot, `apart` is done in one of its own, without the open one.
   *
   * @throws WarehouseError `conflict`, SQLSTATE 40001, then: tried again, `work` has nothing of the kind left to do
   */
  const elsewhere = async <T>(work: () => Promise<T>, apart: () => Promise<unknown>): Promise<T> => {
    try {
      return await work();
    } catch (thrown) {
      if (sqlstateOf(thrown) !== OTHER_CONNECTIONS || transaction === null) throw thrown;
      await abandon();
      await apart();
      throw new WarehouseError(
        'conflict',
        'weeks were made ready in a transaction of their own',
        { sqlstate: '40001' },
        thrown,
      );
    }
  };
  const abandon = async (): Promise<void> => {
    const opened = transaction;
    transaction = null;
    written = { bytes: 0, copy_ms: 0 };
    await opened?.rollback();
  };

  /** The ledger, in the transaction of the rows. */
  const ledgerOf = ({ client }: Transaction): StateStore => postgresStore(client, claim.stream, sourceId);

  return {
    place: (ranges, replayed) =>
      Promise.all(
        ranges.map(async (range) => ({
          range,
          sourceId: await sourceId(range.network),
          batchId: batchId(range),
          replayed: replayed.has(range.network),
        })),
      ),
    erase: async (erasure) => {
      const source = await sourceId(erasure.network);
      const opened = await open();
      const ledger = ledgerOf(opened);
      const span = await ledger.invalidSpan(erasure);
      if (span === null) return 0;
      const { client } = opened;
      // The cut range is erased apart, because its ledger row stays and must count what is left of it.
      const cutEnd = span.cutEnd ?? span.from - 1;
      const [cut, behind] = await elsewhere(
        async () => [
          cutEnd < span.from ? 0 : await dataset.erase(client, source, span, span.from, cutEnd),
          await dataset.erase(client, source, span, cutEnd + 1, span.to),
        ],
        async () => dataset.makeErasable?.(span),
      );
      await ledger.invalidate(erasure, cut);
      return cut + behind;
    },
    write: async (buffer) => {
      const within = transaction?.client ?? null;
      await elsewhere(
        () => dataset.reserve(buffer, within),
        () => dataset.reserve(buffer, null),
      );
      const { client } = await open();
      const before = bytesSent(client);
      const { ms } = await timed(() => dataset.write(client, buffer));
      written = { bytes: written.bytes + bytesSent(client) - before, copy_ms: written.copy_ms + ms };
    },
    commit: async (entries) => {
      const opened = await open();
      const { client } = opened;
      const { result: labelled, ms: fold_ms } = await timed(async () => {
        await ledgerOf(opened).markProcessed(entries);
        const settled: SettledEntry[] = [];
        for (const { range } of entries) {
          const source = await sourceId(range.network);
          await check?.(client, source, range);
          settled.push({ sourceId: source, range });
        }
        return (await dataset.settle(client, settled)) ?? null;
      });
      const dropped = labelled?.dropped ?? 0;
      transaction = null;
      const { ms: commit_ms } = await timed(() => opened.commit());
      const cost = { ...written, fold_ms, commit_ms };
      written = { bytes: 0, copy_ms: 0 };
      return {
        cost,
        ranges: entries,
        rows: entries.reduce((sum, entry) => sum + entry.count.rows, 0) - dropped,
        quarantined: entries.reduce((sum, entry) => sum + entry.count.quarantined, 0),
        unmatched: labelled?.unmatched ?? null,
        dropped,
      };
    },
    abandon,
  };
};

/** Runs `work` and says how long it took. */
const timed = async <T>(work: () => Promise<T>): Promise<{ readonly result: T; readonly ms: number }> => {
  const started = performance.now();
  const result = await work();
  return { result, ms: performance.now() - started };
};

/** First in the transaction, before any table is locked: who swaps partitions waits for us here, or we for them. */
const shareGates = async (client: Client, sets: readonly string[]): Promise<void> => {
  if (sets.length > 0) await sql`select strata.share_gates(variadic ${sets}::text[])`.execute(on(client));
};
