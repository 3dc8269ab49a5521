/** 104 weeks, folded batch by batch on top of the state: the same tables as a full recompute, and only the weeks that changed are touched. */
import { beforeAll, describe, expect, test } from 'vitest';
import type { PoolClient } from 'pg';
import { randomRuns } from '../seed.ts';
import { EXCEPT_BOTH_WAYS, fillCentury, WEEKS, weekText, type CenturySize } from './century.ts';
import { useBalances } from './database.ts';
import { valueOf, verified } from './harness.ts';

const database = useBalances();

/** In a soak, where random tests run at twenty times their number or more, this one has its full size. */
const isSoak = randomRuns(100) > 1000;
const SIZE: CenturySize = isSoak
  ? { changes: 5_000_000, accounts: 100_000, batches: 250 }
  : { changes: 60_000, accounts: 1_200, batches: 12 };
const LIMIT_MS = isSoak ? 3 * 3_600_000 : 120_000;

let source: number;
beforeAll(async () => {
  source = await fillCentury(database.pool, SIZE);
}, LIMIT_MS);

/** Runs work in a transaction that is never committed, with these changes folded. */
const afterFold = async <T>(deltas: string, work: (client: PoolClient) => Promise<T>): Promise<T> => {
  const client = await database.pool.connect();
  try {
    await client.query('select strata.open_deltas()');
    await client.query('begin');
    await client.query(
      `insert into pg_temp.balance_deltas (account_address, asset_id, period, delta, change_count) ${deltas}`,
    );
    await client.query('select strata.fold_deltas()');
    return await work(client);
  } finally {
    await client.query('rollback');
    client.release();
  }
};

/** Weeks of balances of which any leaf is locked by this transaction, by the mode that writes or by any. */
const lockedWeeks = async (client: PoolClient, mode: string): Promise<readonly string[]> => {
  const { rows } = await client.query<{ week: string }>(
    `select distinct to_char(b.lower_bound at time zone 'UTC', 'YYYY-MM-DD') as week
       from pg_locks l join pg_inherits i on i.inhrelid = l.relation
       join strata.set_partitions('account_balances') p on p.partition = i.inhparent or p.partition = l.relation
       cross join lateral strata.partition_bounds(p.partition::oid) b
      where l.pid = pg_backend_pid() and l.locktype = 'relation' and l.mode like $1 order by 1`,
    [mode],
  );
  return rows.map(({ week }) => week);
};

const dayOf = (week: number): string => weekText(week).slice(0, 10);

describe('two years of changes', () => {
  test(
    'folded on top of the state equal a full recompute: EXCEPT is empty both ways',
    async () => {
      const ranges = await database.pool.query<{ start_block: number; end_block: number }>(
        'select start_block, end_block from strata.stream_batches where source_id = $1 order by start_block',
        [source],
      );
      const start = performance.now();
      for (const { start_block, end_block } of ranges.rows)
        await database.pool.query('select strata.fold_changes($1::smallint, $2, $3)', [
          source,
          start_block,
          end_block,
        ]);
      await database.pool.query('select strata.advance_fold($1::smallint, null, $2)', [
        source,
        ranges.rows.at(-1)!.end_block,
      ]);
      const seconds = (performance.now() - start) / 1000;
      const [missing, extra, rows, keys] = await valueOf<number[]>(database.pool, EXCEPT_BOTH_WAYS);
      console.info(
        `${SIZE.changes} changes, ${rows} balances, ${keys} keys in ${WEEKS} weeks folded in ${seconds.toFixed(1)} s; EXCEPT ${missing} and ${extra}`,
      );
      expect([missing, extra]).toEqual([0, 0]);
      expect(rows).toBeGreaterThan(SIZE.changes / 2);
      expect(await verified(database.pool)).toMatchObject({ differences: 0, state_rows: keys });
    },
    LIMIT_MS,
  );

  test(
    'taken back in part and folded again equal it too',
    async () => {
      const from = Math.floor(SIZE.changes / 2) - 500;
      await database.pool.query(
        `select strata.take_back_changes($1::smallint, $2, null, null), strata.fold_deltas()`,
        [source, from],
      );
      const [missing, extra] = await valueOf<number[]>(database.pool, EXCEPT_BOTH_WAYS);
      expect([missing, extra]).toEqual([0, 0]);
    },
    LIMIT_MS,
  );
});

describe('of 104 weeks', () => {
  test('an append locks and touches the newest alone', async () => {
    const deltas = `select account_address, asset_id, timestamptz '${weekText(WEEKS - 1)}' + interval '160 hours', 1, 1
      from strata.account_balances_current where "timestamp" < '${weekText(WEEKS - 1)}' limit 500`;
    expect(await afterFold(deltas, (client) => lockedWeeks(client, 'RowExclusiveLock'))).toEqual([
      dayOf(WEEKS - 1),
    ]);
    // The deltas were read from the state: whatever else is locked, the fold itself has read.
    expect(await afterFold(deltas, (client) => lockedWeeks(client, '%'))).toEqual([dayOf(WEEKS - 1)]);
  });

  test('a late change locks for writing, and changes, those from the earliest touched on', async () => {
    const late = WEEKS - 5;
    const deltas = `select account_address, asset_id, timestamptz '${weekText(late)}' + interval '100 hours', 1, 1
      from strata.account_balances_current where "timestamp" >= '${weekText(WEEKS - 3)}' limit 200`;
    const weeks = Array.from({ length: WEEKS - late }, (_unused, index) => dayOf(late + index));
    expect(await afterFold(deltas, (client) => lockedWeeks(client, 'RowExclusiveLock'))).toEqual(weeks);
  });

  test('the statement for late rows plans none before its literal bound', async () => {
    const text = await valueOf<string>(
      database.pool,
      `select prosrc from pg_proc where proname = 'fold_late_rows'`,
    );
    const update = /update strata\.account_balances b[\s\S]*?(?=\$fold\$)/.exec(text)![0];
    const bound = `'${weekText(WEEKS - 2)}'`;
    const client = await database.pool.connect();
    try {
      await client.query(
        'begin; select strata.open_deltas(); set local enable_hashjoin = off; set local enable_mergejoin = off; set local enable_seqscan = off',
      );
      const late = `with late as materialized (select * from pg_temp.late_periods)`;
      const { rows } = await client.query<{ 'QUERY PLAN': string }>(
        `explain ${late} ${update.replaceAll('%1$L', bound).replaceAll('%2$L', `'infinity'`).replaceAll('%3$s', '')}`,
      );
      const weeks = new Set(
        rows.flatMap((row) => /account_balances_(\d{4}_\d\d_\d\d)/.exec(row['QUERY PLAN'])?.[1] ?? []),
      );
      expect([...weeks].toSorted()).toEqual(
        [WEEKS - 2, WEEKS - 1].map((week) => dayOf(week).replaceAll('-', '_')),
      );
    } finally {
      await client.query('rollback');
      client.release();
    }
  });
});
