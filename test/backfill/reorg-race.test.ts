/** A reorg beside a week that is being attached: its rows are in the one place or the other, and gone from both. */
import { expect, test } from 'vitest';
import { withClient } from '../../src/db/pool.ts';
import { createChain } from '../../src/devnet/chain.ts';
import { startDevnet } from '../../src/devnet/server.ts';
import { keyWeek, readWeeksApart } from '../../src/warehouse/backfill/weeks.ts';
import { useDatabase } from '../database.ts';
import { until } from '../db/until.ts';
import { load, TRANSFERS } from '../jobs/loading.ts';

const database = useDatabase();

test('what is taken back while a week is attached is taken from it, too', async () => {
  const { pool } = database;
  const chain = createChain({ seed: 5, blocks: 200, accounts: 9, transfersPerBlock: 2, blockSeconds: 7_200 });
  const devnet = await startDevnet({ chain });
  const stop = new AbortController();
  const parallel = { workers: 1, partition_blocks: 20, reorg_buffer: 5 };
  await load({
    pool,
    url: devnet.url,
    stream: 'raced',
    settings: { ...TRANSFERS, parallel },
    now: new Date('2027-01-01T00:00:00Z'),
    signal: stop.signal,
    onEvent: (event) => event.kind === 'catch-up' && event.done > 40 && stop.abort(new Error('enough')),
  });
  await devnet.stop();
  const [week] = await readWeeksApart(pool, 'raced');
  await keyWeek(pool, week!, 2);
  const { rows: ledger } = await pool.query<{ source_id: number; rows: number }>(
    'select source_id, sum(row_count)::int as rows from strata.stream_batches group by 1',
  );
  const [{ source_id: source, rows }] = ledger as [(typeof ledger)[0]];
  expect(rows).toBeGreaterThan(40);
  await withClient(pool, (attaching) =>
    withClient(pool, async (taking) => {
      await attaching.query('begin');
      await attaching.query('select strata.attach_backfill_week($1, false)', [week!.week]);
      await taking.query('begin');
      const { rows: own } = await taking.query<{ pid: number }>('select pg_backend_pid() as pid');
      const taken = taking.query<{ taken: number }>(
        'select strata.take_back_changes($1::smallint, 0, null, null)::int as taken',
        [source],
      );
      await until('the reorg to wait for the week', async () => {
        const waiting = await pool.query('select from pg_locks where pid = $1 and not granted', [
          own[0]!.pid,
        ]);
        return waiting.rows.length > 0;
      });
      await attaching.query('commit');
      expect((await taken).rows[0]!.taken).toBe(rows);
      await taking.query('rollback');
    }),
  );
});
