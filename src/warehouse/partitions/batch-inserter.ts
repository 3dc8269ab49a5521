/**
 * Observed balances from a program instead of a stream: any order, any week, exact numbers, all or nothing.
 *
 * Each call is one block of a source of its own, with its row in the ledger, so that verification, late rows and
 * retention treat these balances as they treat those of a `snapshots` stream: `snapshot_rows` is the truth, and of two
 * observations of one account, activity and instant the later call wins.
 */
import { sql } from 'kysely';
import { createLeafOf } from '../../arrow/hash-leaf.ts';
import { lockInTransaction } from '../../db/locks.ts';
import { withTransaction } from '../../db/pool.ts';
import { on, type Client, type Pool } from '../../db/query.ts';
import { messageOf, WarehouseError } from '../../runtime/errors.ts';
import { instantOf, instantText, weekOf } from '../../runtime/instant.ts';
import { accountBytes } from '../account.ts';
import { assetId, assetIdText, writeAssets, type NewAsset } from '../assets.ts';
import { postgresStore } from '../state/postgres.ts';
import { sourceOf } from '../stream-state.ts';
import { openWeeks, outsideReason, refuseDropped, type SaneWindow } from './ensure.ts';
import type { PartitionManager } from './manager.ts';
import { gateLock } from './plan.ts';

/** An exact number: decimal text, a bigint, or an integer that a double holds exactly. */
export type ExactNumber = string | bigint | number;

/** One observed balance. */
export interface BalanceRecord {
  /** When it was observed; the balance row is that of its period, an hour. */
  readonly timestamp: Date;
  readonly accountAddress: string;
  readonly activityId: string;
  readonly usdValue: ExactNumber;
  /** The balance itself; the usd value where absent. */
  readonly balance?: ExactNumber;
  /** Anything else, kept as jsonb. */
  readonly data?: unknown;
}

/** What a call stored. */
export interface InsertResult {
  readonly rows: number;
  readonly weeks: number;
}

/** Stores records; see {@link createBatchInserter}. */
export type BatchInserter = (records: readonly BalanceRecord[]) => Promise<InsertResult>;

/** Whose observations they are. */
export interface InserterOptions {
  /** Name of the stream that the ledger has them under; `batch_inserter`. */
  readonly stream?: string;
  /** Network and standard of the activities, part of their identity; `local` and `activity`. */
  readonly network?: string;
  readonly standard?: string;
}

/** Rows of one INSERT: arrays of this length are its parameters. */
const ROWS_PER_INSERT = 5000;

/** Rows that are moved from the stage to snapshot_rows at a time. */
const ROWS_PER_STORE = 50_000;

const GRAIN = 'hour';
const TRUTH = 'snapshot_rows';
const EXACT = /^[+-]?(?:\d+\.?\d*|\.\d+)$/u;

interface Row {
  readonly account: Buffer;
  readonly asset: string;
  readonly micros: number;
  readonly week: number;
  readonly leaf: number;
  readonly ordinal: number;
  readonly balance: string;
  readonly usdValue: string;
  readonly data: string | null;
}

/**
 * A function that stores observed balances.
 *
 * @param manager of `account_balances`; weeks that the records need are made by it first
 * @throws WarehouseError `data` from the function for a record that cannot be stored, before anything is; `config` for a
 *   manager of another set
 *
 * @example
 * const insert = createBatchInserter(pool, createPartitionManager(pool));
 * await insert([{ timestamp: new Date(), accountAddress: 'rdx1q…', activityId: 'xrd_holding', usdValue: '1000.00' }]);
 */
export const createBatchInserter = (
  pool: Pool,
  manager: PartitionManager,
  { stream = 'batch_inserter', network = 'local', standard = 'activity' }: InserterOptions = {},
): BatchInserter => {
  if (manager.set !== 'account_balances') {
    throw new WarehouseError('config', `the batch inserter stores balances, not rows of ${manager.set}`, {
      remedy: 'Give it a manager of account_balances; into a table of your own, insert as you like.',
    });
  }
  return async (records) => {
    if (records.length === 0) return { rows: 0, weeks: 0 };
    const truth = await openWeeks(pool, TRUTH, new Date());
    const balances = await openWeeks(pool, manager.set, new Date());
    const leafOf = createLeafOf(truth.modulus);
    const window = {
      earliest: Math.max(truth.window.earliest, balances.window.earliest),
      latest: Math.min(truth.window.latest, balances.window.latest),
      retainedFrom: Math.max(truth.window.retainedFrom, balances.window.retainedFrom),
    };
    const assets = new Map<string, NewAsset>();
    const rows = records.map((record, index) => {
      const key = { network, standard, assetKey: record.activityId, tokenId: null };
      const asset = assets.get(record.activityId) ?? { ...key, id: assetId(key), zeroSum: false };
      assets.set(record.activityId, asset);
      return readRecord(record, index, window, assetIdText(asset.id), (account) =>
        leafOf(account, 0, account.length),
      );
    });
    rows.sort(byPlace);
    const weeks = new Map(rows.map((row) => [row.week, records[row.ordinal]!.timestamp]));
    for (const instant of weeks.values()) await manager.ensurePartitionExists(instant);
    await truth.ensure(weeks.keys());
    const sourceId = await openSource(pool, stream, network);
    await withTransaction(pool, async (client) => {
      for (const set of [manager.set, TRUTH])
        await lockInTransaction(client, gateLock(set), { mode: 'shared' });
      const block = await nextBlock(client, sourceId);
      await writeAssets(client, [...assets.values()], { grain: GRAIN, observed: true });
      await storeRows(client, rows, sourceId, block);
      const times = rows.map((row) => row.micros);
      const range = { network, start: block, end: block, hash: '', prevHash: null, timestamp: null };
      await postgresStore(client, stream).markProcessed([
        {
          range,
          count: {
            rows: rows.length,
            quarantined: 0,
            minTime: times.reduce((a, b) => Math.min(a, b)),
            maxTime: times.reduce((a, b) => Math.max(a, b)),
          },
        },
      ]);
      for (const set of [TRUTH, manager.set]) await refuseDropped(client, set, [{ sourceId, range }]);
      await sql`select strata.fold_snapshots(${GRAIN}, false)`.execute(on(client));
    });
    return { rows: rows.length, weeks: weeks.size };
  };
};

/** Checks a record and makes a row of it. */
const readRecord = (
  record: BalanceRecord,
  index: number,
  window: SaneWindow,
  asset: string,
  leafOf: (account: Buffer) => number,
): Row => {
  const micros = instantOf(record.timestamp);
  if (!(micros >= window.earliest && micros <= window.latest)) {
    const at = Number.isNaN(micros) ? 'no time at all' : record.timestamp.toISOString();
    throw refused(index, 'timestamp', outsideReason(window, micros, at, 'account_balances') ?? at);
  }
  const usdValue = exactText(record.usdValue, index, 'usdValue');
  const account = accountBytes(record.accountAddress);
  return {
    account,
    asset,
    micros,
    week: weekOf(micros),
    leaf: leafOf(account),
    ordinal: index,
    balance: record.balance === undefined ? usdValue : exactText(record.balance, index, 'balance'),
    usdValue,
    data: jsonText(record.data, index),
  };
};

const refused = (row: number, column: string, why: string): WarehouseError =>
  new WarehouseError('data', `record ${row}: ${column} ${why}`, {
    row,
    column,
    remedy: 'Mend the record; nothing of the batch was stored.',
  });

const exactText = (value: ExactNumber, index: number, column: string): string => {
  const text = String(value);
  if (typeof value === 'number' ? Number.isSafeInteger(value) : EXACT.test(text)) return text;
  throw refused(
    index,
    column,
    typeof value === 'number'
      ? `${text} is a double, which is not exact: give it as text`
      : `${JSON.stringify(text)} is no decimal number`,
  );
};

const jsonText = (data: unknown, index: number): string | null => {
  if (data === undefined || data === null) return null;
  try {
    return JSON.stringify(data) ?? null;
  } catch (thrown) {
    throw refused(index, 'data', `cannot be written as JSON: ${messageOf(thrown)}`);
  }
};

/** Week, hash partition, key: every leaf is visited once, from one end of its primary key to the other. */
const byPlace = (a: Row, b: Row): number =>
  a.week - b.week ||
  a.leaf - b.leaf ||
  Buffer.compare(a.account, b.account) ||
  (a.asset < b.asset ? -1 : a.asset > b.asset ? 1 : a.micros - b.micros || a.ordinal - b.ordinal);

/** The source that the ledger has these observations under. */
const openSource = async (pool: Pool, stream: string, network: string): Promise<number> => {
  await on(pool)
    .insertInto('streams')
    .values({
      stream,
      load: 'snapshots',
      target: 'strata.account_balances',
      grain: GRAIN,
      definition: JSON.stringify({ by: 'createBatchInserter' }),
    })
    .onConflict((conflict) => conflict.column('stream').doNothing())
    .execute();
  return sourceOf(pool, stream, network);
};

/** The block that this call is; other calls of the same source wait for it. */
const nextBlock = async (client: Client, sourceId: number): Promise<number> => {
  await on(client)
    .selectFrom('sources')
    .select('source_id')
    .where('source_id', '=', sourceId)
    .forUpdate()
    .execute();
  const { latest } = await on(client)
    .selectFrom('stream_batches')
    .select((select) => select.fn.max<number | null>(sql`end_block`).as('latest'))
    .where('source_id', '=', sourceId)
    .executeTakeFirstOrThrow();
  return (latest ?? -1) + 1;
};

const storeRows = async (
  client: Client,
  rows: readonly Row[],
  sourceId: number,
  block: number,
): Promise<void> => {
  await sql`select strata.open_snapshots()`.execute(on(client));
  for (let stored = 0; stored < rows.length; stored += ROWS_PER_STORE) {
    const part = rows.slice(stored, stored + ROWS_PER_STORE);
    for (let start = 0; start < part.length; start += ROWS_PER_INSERT) {
      const some = part.slice(start, start + ROWS_PER_INSERT);
      await sql`
        insert into pg_temp.snapshot_stage (account_address, asset_id, observed_at, block_num, ordinal, source_id, balance, usd_value, data)
        select u.account, u.asset, u.at, ${block}, u.ordinal, ${sourceId}, u.balance, u.usd_value, u.data
          from unnest(${some.map((row) => row.account)}::bytea[], ${some.map((row) => row.asset)}::bigint[],
                      ${some.map((row) => instantText(row.micros))}::timestamptz[], ${some.map((row) => row.ordinal)}::int[],
                      ${some.map((row) => row.balance)}::numeric[], ${some.map((row) => row.usdValue)}::numeric[],
                      ${some.map((row) => row.data)}::jsonb[]) u(account, asset, at, ordinal, balance, usd_value, data)`.execute(
        on(client),
      );
    }
    await sql`select strata.store_snapshots(${GRAIN})`.execute(on(client));
  }
};
