/** Who writes to a managed set shares its gate before the first table is locked, so that an exchange of partitions and a load never meet half-way. */
import { expect, it } from 'vitest';
import { withTransaction } from '../../src/db/pool.ts';
import { createBatchWriter } from '../../src/warehouse/batches.ts';
import { NOTHING, type Dataset } from '../../src/warehouse/datasets.ts';
import { claimStream } from '../../src/warehouse/stream-state.ts';
import { useDatabase } from '../database.ts';
import { until } from '../db/until.ts';

const database = useDatabase();

/** Holds the gates of these sets alone while `work` runs. */
const withGates = (sets: readonly string[], work: () => Promise<void>): Promise<void> =>
  withTransaction(database.pool, async (client) => {
    for (const set of sets)
      await client.query(`select pg_advisory_xact_lock(strata.advisory_key('gate ' || $1))`, [set]);
    await work();
  });

/** Sessions that wait for an advisory lock, with the tables of ours that they have locked. */
const waiting = async (): Promise<readonly { tables: number }[]> =>
  (
    await database.pool.query<{ tables: number }>(
      `select (select count(*)::int from pg_locks h join pg_class c on c.oid = h.relation join pg_namespace n on n.oid = c.relnamespace
                where h.pid = l.pid and h.granted and n.nspname = 'strata' and c.relkind in ('r', 'p') and h.mode <> 'AccessShareLock') as tables
         from pg_locks l where l.locktype = 'advisory' and not l.granted and l.database = (select oid from pg_database where datname = current_database())`,
    )
  ).rows;

it.each([
  [`strata.fold_pending(1::smallint, 0)`, 'account_balances'],
  [`strata.fold_changes(1::smallint, 0, 10)`, 'account_balances'],
  [`strata.rebuild_balances()`, 'account_balances'],
  [`strata.fold_week('2024-01-14')`, 'account_balances'],
  [`strata.share_gates('snapshot_rows', 'account_balances')`, 'snapshot_rows'],
])('%s waits at the gate of %s', async (call, set) => {
  await withGates([set], async () => {
    await expect(
      withTransaction(database.pool, async (client) => {
        await client.query(`set local lock_timeout = '20ms'`);
        await client.query(`select ${call}`);
      }),
    ).rejects.toMatchObject({ detail: { sqlstate: '55P03' } });
  });
});

it('a batch takes the gates of all its sets before anything else', async () => {
  const { pool } = database;
  const definition = {
    stream: 's',
    load: 'rows',
    target: 'strata.t',
    grain: 'hour',
    definition: {},
  } as const;
  const dataset: Dataset = {
    definition,
    sets: () => Promise.resolve(['balance_changes', 'account_balances']),
    partRows: 1,
    prepare: () => Promise.resolve(),
    createBuffer: () => ({
      rows: 0,
      append: () => new Map(),
      prepare: () => undefined,
      clear: () => undefined,
    }),
    reserve: () => Promise.resolve(),
    write: async (client) => {
      await client.query(
        `insert into strata.quarantine (source_id, block_num, reason, detail) select source_id, 1, 'x', '{}' from strata.sources limit 0`,
      );
    },
    settle: () => Promise.resolve(),
    erase: () => Promise.resolve(0),
  };
  const writer = createBatchWriter(pool, await claimStream(pool, definition), dataset);
  let written: Promise<void> = Promise.resolve();
  await withGates(['account_balances'], async () => {
    written = writer.write(dataset.createBuffer());
    const session = await until('the batch to wait at the gate', async () => (await waiting())[0]);
    expect(session).toEqual({ tables: 0 });
  });
  await written;
  const range = { network: 'n', start: 0, end: 1, hash: '0x1', prevHash: null, timestamp: null };
  await writer.commit([{ range, count: NOTHING }]);
});
