/** A ledger stays short however long its stream goes on, and still knows of every block that it is loaded. */
import { expect, test } from 'vitest';
import { LEDGER_HORIZON } from '../../src/chain/ledger-tail.ts';
import { createChain } from '../../src/devnet/chain.ts';
import { startDevnet } from '../../src/devnet/server.ts';
import { postgresStore } from '../../src/warehouse/state/postgres.ts';
import { useDatabase } from '../database.ts';
import { load } from './loading.ts';
import { ledgerOf } from './oracle.ts';

const database = useDatabase();

/** As if every block had come by itself, when it was new. */
const cutLedger = async (hashes: readonly string[]): Promise<void> => {
  await database.pool.query(
    `with whole as (delete from strata.stream_batches returning source_id, batch_id)
     insert into strata.stream_batches (source_id, start_block, end_block, hash, batch_id, row_count)
     select distinct source_id, block - 1, block - 1, hash, first_value(batch_id) over (), 1
       from whole, unnest($1::text[]) with ordinality block (hash, block)`,
    [hashes],
  );
};

test('what no reorg can reach any more is merged; a reorg of the rest is taken back as ever', async () => {
  const blocks = LEDGER_HORIZON + 900;
  const chain = createChain({ blocks, accounts: 2, tokens: 1, transfersPerBlock: 1, logsPerBlock: 1 });
  const devnet = await startDevnet({ chain });
  const settings = { load: 'rows', query: 'SELECT _block_num, number FROM blocks', table: 'long' };
  const request = { pool: database.pool, url: devnet.url, stream: 'long', settings };
  try {
    await load(request);
    await cutLedger(Array.from({ length: blocks }, (_, block) => chain.view().hashOf(block)));
    chain.reorg(40, 50);
    expect(await load(request)).toMatchObject({ reorgs: 1, blocks: 50 });
    const after = await ledgerOf(database.pool, 'long');
    // One range for all that is old; the newest are as they were.
    expect(after.length).toBeLessThanOrEqual(LEDGER_HORIZON + 51);
    expect(after[0]).toMatchObject({ start: 0, rows: after[0]!.end + 1 });
    expect(after[0]!.end).toBeGreaterThan(800);
    const gaps = await postgresStore(database.pool, 'long').gaps('devnet', { from: 0, to: blocks + 10 });
    expect(gaps).toEqual([]);
    const { rows } = await database.pool.query('select count(distinct number)::int as blocks from long');
    expect(rows).toEqual([{ blocks: blocks + 10 }]);
  } finally {
    await devnet.stop();
  }
});
