/** Does every stored balance equal a full recompute? Reads one snapshot while loading goes on. */
import { sql, type RawBuilder } from 'kysely';
import { withTransaction } from '../db/pool.ts';
import { beginTransaction, type Transaction } from '../db/transaction.ts';
import { on, type Client, type Pool } from '../db/query.ts';
import { accountText } from './account.ts';
import { topologyOf } from './topology.ts';

/** How much to verify. */
export interface VerifyOptions {
  /** One in so many accounts; 1 for all. Sums and counts are always over everything. */
  readonly oneIn: number;
}

/** Something that does not agree. */
export interface Difference {
  readonly problem: string;
  readonly account?: string;
  readonly asset_id?: string;
  readonly timestamp?: string;
  readonly detail: string;
}

/** What was compared, and what differs. */
export interface VerifyReport {
  /** Everything that does not agree; 0 when all is well. */
  readonly differences: number;
  /** Balance rows and state rows there are. */
  readonly balances: number;
  readonly state_rows: number;
  readonly assets: number;
  readonly sources: number;
  readonly one_in: number;
  /** The first {@link SHOWN_MAX} differences. */
  readonly first: readonly Difference[];
}

/** Differences that are listed; all are counted. */
const SHOWN_MAX = 10;

/** Recomputes balances from the changes and compares, both ways; checks sums, the state, and the ledger's counts. */
export const verifyBalances = async (pool: Pool, { oneIn }: VerifyOptions): Promise<VerifyReport> => {
  const pause = (await topologyOf(pool)) === 'citus' ? await pauseFolds(pool) : null;
  try {
    return await withTransaction(
      pool,
      async (client) => {
        // Each node of a cluster has one connection, because another one would bring a later snapshot.
        if (pause !== null)
          await sql`set local citus.max_adaptive_executor_pool_size = 1`.execute(on(client));
        // Before the snapshot is taken: from here on no week can be taken out of what this snapshot reads, and none of history added.
        await sql`lock table only strata.balance_changes, only strata.account_balances, only strata.snapshot_rows, strata.week_gate in access share mode`.execute(
          on(client),
        );
        if (pause !== null) {
          await sql`select count(*) from strata.shards`.execute(on(client));
          await pause.end();
        }
        return compare(client, oneIn);
      },
      { isolation: 'repeatable read', readOnly: true },
    );
  } finally {
    await pause?.end();
  }
};

/**
 * Lets nobody fold, or commit a load, until it is ended: both phases of their commits go on under that lock, so that snapshots
 * taken meanwhile on all nodes of a cluster are one.
 */
const pauseFolds = async (pool: Pool): Promise<{ end(): Promise<void> }> => {
  let holder: Transaction | null = await beginTransaction(pool);
  const end = async (): Promise<void> => {
    const held = holder;
    holder = null;
    await held?.rollback();
  };
  try {
    await sql`select strata.lock_fold()`.execute(on(holder.client));
  } catch (thrown) {
    await end();
    throw thrown;
  }
  return { end };
};

const compare = async (client: Client, oneIn: number): Promise<VerifyReport> => {
  const found = [
    await differences(
      client,
      sql`select problem, account_address, asset_id::text, timestamp, format('balance %s in %s changes', balance, change_count) as detail from strata.verify_rows(${oneIn})`,
    ),
    await differences(
      client,
      sql`select problem, account_address, asset_id::text, timestamp, format('balance %s', balance) as detail from strata.verify_state(${oneIn})`,
    ),
    await differences(
      client,
      sql`select problem, account_address, asset_id::text, timestamp, format('balance %s', balance) as detail from strata.verify_snapshots(${oneIn})`,
    ),
    await differences(
      client,
      sql`select 'asset does not sum to zero' as problem, null::bytea as account_address, asset_id::text, null::timestamptz as timestamp, format('total %s', total) as detail from strata.verify_sums()`,
    ),
    await differences(
      client,
      sql`select 'ledger and table count differently' as problem, null::bytea as account_address, null as asset_id, null::timestamptz as timestamp,
          format('source %s: ledger %s, stored %s', source_id, ledger_rows, stored_rows) as detail from strata.verify_ledger()`,
    ),
  ];
  const { rows } =
    await sql<Counts>`select (select count(*) from strata.account_balances) as balances, (select count(*) from strata.account_balances_current) as state_rows,
        (select count(*) from strata.assets) as assets, (select count(*) from strata.sources) as sources`.execute(
      on(client),
    );
  return {
    differences: found.reduce((sum, { count }) => sum + count, 0),
    ...rows[0]!,
    one_in: oneIn,
    first: found.flatMap(({ first }) => first).slice(0, SHOWN_MAX),
  };
};

type Counts = Pick<VerifyReport, 'balances' | 'state_rows' | 'assets' | 'sources'>;

interface FoundRow {
  readonly total: number;
  readonly problem: string;
  readonly account_address: Buffer | null;
  readonly asset_id: string | null;
  readonly timestamp: Date | null;
  readonly detail: string;
}

/** Counts all rows of a check and takes the first few. */
const differences = async (
  client: Client,
  check: RawBuilder<unknown>,
): Promise<{ count: number; first: Difference[] }> => {
  const { rows } =
    await sql<FoundRow>`select count(*) over () as total, d.* from (${check}) d limit ${SHOWN_MAX}`.execute(
      on(client),
    );
  const first = rows.map((row) => ({
    problem: row.problem,
    ...(row.account_address === null ? {} : { account: accountText(row.account_address) }),
    ...(row.asset_id === null ? {} : { asset_id: row.asset_id }),
    ...(row.timestamp === null ? {} : { timestamp: row.timestamp.toISOString() }),
    detail: row.detail,
  }));
  return { count: rows[0]?.total ?? 0, first };
};
