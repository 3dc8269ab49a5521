/** Balances from changes: staged as deltas in the transaction that loads them, folded by SQL before it commits. */
import { sql } from 'kysely';
import { DELTA_COLUMNS } from '../arrow/deltas.ts';
import { recycleFrame } from '../arrow/frame.ts';
import { copyIn } from '../db/copy-in.ts';
import { on, type Client, type Pool } from '../db/query.ts';
import type { SettledEntry } from './datasets.ts';
import type { InvalidSpan } from './state/store.ts';

/** Length of a period in microseconds. */
export const PERIOD_US = { hour: 3_600_000_000, day: 86_400_000_000 } as const;

const STAGE = `copy pg_temp.balance_deltas (${DELTA_COLUMNS.join(', ')}) from stdin (format binary)`;

/** Puts deltas where {@link foldLive} finds them; they are gone at the end of the transaction. */
export const stageDeltas = async (client: Client, frames: Iterable<Buffer>): Promise<void> => {
  await openDeltas(client);
  await copyIn(client, STAGE, frames, { onSent: recycleFrame });
};

const openDeltas = async (client: Client): Promise<void> => {
  await sql`select strata.open_deltas()`.execute(on(client));
};

/**
 * Deletes the changes of a source's blocks `from` to `to` (inclusive; null is open) and stages what that takes back.
 *
 * @returns the changes deleted
 */
export const takeBackChanges = async (
  client: Client,
  sourceId: number,
  span: InvalidSpan,
  from: number,
  to: number | null,
): Promise<number> => {
  const { rows } = await sql<{ taken: number }>`
    select strata.take_back_changes(${sourceId}::smallint, ${from}, ${to}, ${span.minTime}) as taken`.execute(
    on(client),
  );
  return rows[0]?.taken ?? 0;
};

/** Turns weeks of a span that are stored by column back, in a transaction of its own. */
export const makeWeeksWritable = async (pool: Pool, set: string, { minTime }: InvalidSpan): Promise<void> => {
  await sql`select strata.make_weeks_writable(${set}, coalesce(${minTime}::timestamptz, '-infinity'))`.execute(
    on(pool),
  );
};

/** Folds what is staged, and says that these ranges are folded. */
export const foldLive = async (client: Client, entries: readonly SettledEntry[]): Promise<void> => {
  await openDeltas(client);
  await sql`select strata.fold_deltas()`.execute(on(client));
  for (const [sourceId, ranges] of Map.groupBy(entries, (entry) => entry.sourceId)) {
    const end = Math.max(...ranges.map(({ range }) => range.end));
    await sql`select strata.advance_fold(${sourceId}::smallint, null, ${end})`.execute(on(client));
  }
};

/**
 * Leaves ranges to {@link foldPending}, but for those that lie before what is folded already: its watermark will not come
 * back to them, so they are folded with their commit. Also folds what a reorg took back.
 */
export const foldDeferred = async (client: Client, entries: readonly SettledEntry[]): Promise<void> => {
  if (await isAhead(client, entries)) {
    // Whoever goes past these ranges waits for their commit and sees their ledger rows; loaders do not wait for each other.
    await sql`select pg_advisory_xact_lock_shared(hashtextextended('pgstrata fold ' || h, 0))
      from generate_series(0, ${FOLD_PARTITIONS - 1}) h`.execute(on(client));
    if (await isAhead(client, entries)) return;
  }
  await openDeltas(client);
  // Held to the commit: a worker that is about to go past these ranges must either be seen here, or see their ledger rows.
  await sql`select strata.lock_fold()`.execute(on(client));
  // Before it is asked how far is folded: a fork sets that back.
  await sql`select strata.stage_taken_back()`.execute(on(client));
  for (const { sourceId, range } of entries) {
    // The fold of a whole week may have come to the middle of it.
    await sql`select strata.stage_changes(${sourceId}::smallint, ${range.start}, least(${range.end}::bigint, p.folded_block), p.hash_partition)
      from strata.fold_progress p where p.source_id = ${sourceId} and p.folded_block >= ${range.start}`.execute(
      on(client),
    );
  }
  await sql`select strata.fold_deltas()`.execute(on(client));
};

/** Whether ranges lie ahead of what is folded and nothing was taken back, so that there is nothing to fold with their commit. */
const isAhead = async (client: Client, entries: readonly SettledEntry[]): Promise<boolean> => {
  const sources = entries.map((entry) => entry.sourceId);
  const starts = entries.map(({ range }) => range.start);
  const { rows } = await sql<{ ahead: boolean; opened: boolean }>`
    select to_regclass('pg_temp.taken_blocks') is not null as opened,
           not exists (select from unnest(${sources}::smallint[], ${starts}::bigint[]) e (source_id, start_block)
                         join strata.fold_progress p on p.source_id = e.source_id and p.folded_block >= e.start_block) as ahead`.execute(
    on(client),
  );
  const [row] = rows;
  // Staging tables that nobody has opened are left alone: each commit that has looked at them empties them.
  return row?.ahead === true && (!row.opened || !(await isTakenBack(client)));
};

const isTakenBack = async (client: Client): Promise<boolean> => {
  const { rows } = await sql<{ taken: boolean }>`
    select exists (select from pg_temp.taken_changes) or exists (select from pg_temp.taken_blocks) as taken`.execute(
    on(client),
  );
  return rows[0]?.taken === true;
};

/** Hash partitions of the state: as many folds can go on side by side. */
export const FOLD_PARTITIONS = 4;

/** Sources of a stream that have changes waiting to be folded. */
export const pendingSources = async (pool: Pool, stream: string): Promise<number[]> => {
  const { rows } = await sql<{ source_id: number }>`
    select src.source_id from strata.sources src
     where src.stream = ${stream}
       and exists (select from generate_series(0, ${FOLD_PARTITIONS - 1}) h
                    where (strata.next_fold(src.source_id, h, 1, true)).to_block is not null)
     order by src.source_id`.execute(on(pool));
  return rows.map((row) => row.source_id);
};

/** How far one call of {@link foldNext} came; null when nothing waited. */
export interface Folded {
  readonly block: number;
  readonly rows: number;
}

/** Folds the next waiting changes of one hash partition of a source, in a transaction of its own. */
export const foldNext = async (
  pool: Pool,
  sourceId: number,
  hashPartition: number,
  rowsMax: number,
  acrossGaps: boolean,
): Promise<Folded | null> => {
  const { rows } = await sql<{ to_block: number | null; row_count: number | null }>`
    select to_block, row_count from strata.fold_pending(${sourceId}::smallint, ${hashPartition}, ${rowsMax}, ${acrossGaps})`.execute(
    on(pool),
  );
  const [row] = rows;
  return row === undefined || row.to_block === null
    ? null
    : { block: row.to_block, rows: row.row_count ?? 0 };
};

/** How to fold a whole week. */
export interface FoldWeekOptions {
  /** Any instant of the week. */
  readonly week: Date;
  /** Connections that share the work, one hash partition at a time each; default 2. */
  readonly workers?: number;
}

/**
 * Folds a whole week of changes, of all sources, into balances that do not reach that week yet: the bulk form of the fold,
 * for history in order. Each hash partition becomes visible whole, by a transaction of its own.
 *
 * @returns balance rows written
 * @throws WarehouseError `database` on a cluster, with what to do instead; when balances reach the week already: then only {@link foldNext} may go on
 */
export const foldWeek = async (pool: Pool, { week, workers = 2 }: FoldWeekOptions): Promise<number> => {
  const instant = week.toISOString();
  await sql`select strata.refuse_on_cluster('folding a week whole', 'foldNext() folds inside the shards, as pgstrata fold does')`.execute(
    on(pool),
  );
  await sql`select strata.ensure_weeks('account_balances', ${instant}, ${instant})`.execute(on(pool));
  const { rows: leaves } = await sql<{ remainder: number }>`
    select remainder from strata.week_leaves('account_balances', ${instant}) order by remainder`.execute(
    on(pool),
  );
  let folded = 0;
  const work = async (): Promise<void> => {
    for (let leaf = leaves.pop(); leaf !== undefined; leaf = leaves.pop()) {
      const { rows } = await sql<{ folded: number }>`
        select strata.fold_week_partition(${instant}, ${leaf.remainder}) as folded`.execute(on(pool));
      folded += rows[0]?.folded ?? 0;
    }
  };
  await Promise.all(Array.from({ length: Math.min(workers, leaves.length) }, work));
  return folded;
};
