/** Weeks of balance changes that stand beside the set: which there are, their keys, and how they become a part of it. */
import { sql } from 'kysely';
import { asWarehouseError } from '../../db/errors.ts';
import { withClient, withTransaction } from '../../db/pool.ts';
import { on, type Client, type Pool } from '../../db/query.ts';
import { WarehouseError } from '../../runtime/errors.ts';

/** A week beside the set. */
export interface WeekApart {
  readonly week: Date;
  readonly state: 'building' | 'keyed';
  /** Its hash partitions. */
  readonly leaves: readonly string[];
  /** Whether the ledger has passed its end without a gap. */
  readonly complete: boolean;
}

/** What became of a week that was attached. */
export interface AttachedWeek {
  readonly week: Date;
  /** Balance changes in it. */
  readonly rows: number;
  readonly balanceRows: number | null;
  /** See strata.backfill_weeks.folded. */
  readonly folded: 'whole' | 'late' | 'no';
}

/** The weeks that stand beside the set, oldest first; none for a stream that has no ledger. */
export const readWeeksApart = async (pool: Pool, stream: string): Promise<WeekApart[]> => {
  const { rows } = await sql<WeekApart>`
    select week_start as week, state, leaves, complete from strata.complete_backfill_weeks(${stream})`.execute(
    on(pool),
  );
  return rows;
};

/**
 * Builds the keys of a week, hash partition by hash partition: as many at once as `pool` lends connections, up to `workers`. What
 * is done already is gone past, so whoever was broken off begins again.
 *
 * @throws WarehouseError `data` where two of its rows are the same change
 */
export const keyWeek = async (pool: Pool, { week, leaves }: WeekApart, workers: number): Promise<void> => {
  const waiting = [...leaves.entries()];
  const work = async (): Promise<void> => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      const [index, leaf] = next;
      // Frozen before it has indexes that a vacuum would have to read, too.
      await pool.query(`vacuum (freeze, truncate off) ${leaf}`);
      await sql`select strata.key_backfill_leaf(${week.toISOString()}, ${index})`.execute(on(pool));
    }
  };
  try {
    await Promise.all(Array.from({ length: Math.min(workers, leaves.length) }, work));
    await sql`select strata.key_backfill_week(${week.toISOString()})`.execute(on(pool));
  } catch (thrown) {
    throw await noted(pool, week, explained(thrown));
  }
};

/**
 * Makes a week that has its keys a part of the set, with its balances; null when it is not there to be attached.
 *
 * @param helping lends another connection, which folds hash partitions of the week beside the transaction as long as some are left;
 *   null where there is none
 * @param onAlone told when what is left is the work of one connection
 */
export const attachWeek = async (
  pool: Pool,
  helping: Pool | null,
  week: Date,
  fold: boolean,
  onAlone: () => void = () => undefined,
): Promise<AttachedWeek | null> => {
  try {
    return await withTransaction(pool, async (client) => {
      if (fold && helping !== null) await prefill(client, helping, week);
      onAlone();
      const { rows } = await sql<{
        folded: AttachedWeek['folded'] | null;
        rows: number;
        balance_rows: number | null;
      }>`
        select folded, rows, balance_rows from strata.attach_backfill_week(${week.toISOString()}, ${fold})`.execute(
        on(client),
      );
      const [row] = rows;
      if (row === undefined || row.folded === null) return null;
      return { week, rows: row.rows, balanceRows: row.balance_rows, folded: row.folded };
    });
  } catch (thrown) {
    throw await noted(pool, week, asWarehouseError(thrown));
  }
};

/**
 * Folds the hash partitions of a week on two connections. Only the transaction of `client`, whose locks keep the state as it is,
 * can take what comes of it.
 */
const prefill = async (client: Client, helping: Pool, week: Date): Promise<void> => {
  const { rows } = await sql<{ folding: string | null; parts: readonly number[] | null }>`
    select folding::text, parts from strata.begin_backfill_fold(${week.toISOString()})`.execute(on(client));
  const { folding = null, parts = null } = rows[0] ?? {};
  if (folding === null || parts === null) return;
  const waiting = [...parts];
  const work = async (one: Client): Promise<void> => {
    for (let part = waiting.shift(); part !== undefined; part = waiting.shift())
      await sql`select strata.prefill_week_partition(${week.toISOString()}, ${part}, ${folding}::xid8)`.execute(
        on(one),
      );
  };
  let busy = false;
  const help = withClient(helping, (helper) => {
    busy = true;
    return work(helper);
  }).catch(() => undefined); // what it has not made is folded with the rest
  try {
    await work(client);
  } finally {
    // One that still waits for its connection will find nothing left to do.
    if (busy) await help;
    waiting.length = 0;
  }
};

/** SQLSTATE unique_violation. */
const UNIQUE_VIOLATION = '23505';

/** What PostgreSQL says of a key that came twice: account, asset, time, block, position and source. */
const DUPLICATE =
  /\)=\((?<account>[^,)]+), (?<asset>[^,)]+), (?<time>[^,)]+), (?<block>\d+), (?<position>\d+), \d+\)/;

const explained = (thrown: unknown): WarehouseError => {
  const error = asWarehouseError(thrown);
  if (error.detail.sqlstate !== UNIQUE_VIOLATION) return error;
  const { account, asset, time, block, position } = DUPLICATE.exec(error.message)?.groups ?? {};
  const which =
    block === undefined
      ? 'same account, asset, time, block and position'
      : `account ${account}, asset ${asset}, ${time}, block ${block}, position ${position}`;
  return new WarehouseError(
    'data',
    `two rows make the same balance change: ${which}`,
    {
      sqlstate: UNIQUE_VIOLATION,
      ...(block !== undefined && { block: Number(block) }),
      remedy:
        'Map `ordinal` to a column that is unique within a block, such as log_index. Delete one of the two in the table named by strata.backfill_weeks where the row came twice.',
    },
    thrown,
  );
};

/** The error with its week, told by the journal too where the database still listens. */
const noted = async (pool: Pool, week: Date, error: WarehouseError): Promise<WarehouseError> => {
  await sql`select strata.note_backfill_error(${week.toISOString()}, ${error.message})`
    .execute(on(pool))
    .catch(() => undefined);
  return new WarehouseError(
    error.kind,
    `week ${week.toISOString().slice(0, 10)} of the history: ${error.message}`,
    error.detail,
    error,
  );
};
