/** Reorg mode `history`: nothing a reorg takes back is lost, and what is on the chain is told apart from it. */
import { afterEach, describe, expect, test } from 'vitest';
import { createChain } from '../../src/devnet/chain.ts';
import { startDevnet } from '../../src/devnet/server.ts';
import { useDatabase } from '../database.ts';
import { until } from '../db/until.ts';
import { failureOf } from '../flight/collect.ts';
import { follow, load, LOGS } from './loading.ts';
import { logsOf, storedLogs } from './log-rows.ts';
import { expectLedger, expectSame } from './oracle.ts';
import { blocks, useScripts } from './scripted-runs.ts';
import { rangeOf, type Step } from './scripted-server.ts';

const database = useDatabase();
const { serve } = useScripts(database);
const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup();
});

const HISTORY = { load: 'rows', query: 'SELECT whatever the script says', reorg: 'history' };

/** Loads a script up to its head; a script that has said all waits. */
const play = async (table: string, head: number, ...steps: readonly (readonly Step[])[]) => {
  const server = await serve([rangeOf(0, head, 'last')], () => [...steps.flat(), { wait: 'for ever' }]);
  return load({ pool: database.pool, url: server.url, stream: table, settings: { ...HISTORY, table } });
};

/** Blocks of the rows of a relation, each with its mark. */
const rowsOf = async (relation: string, mark = 'true') => {
  const { rows } = await database.pool.query<{ block: number; current: boolean }>(
    `select _block_num as block, ${mark} as current from public.${relation} order by 1, 2`,
  );
  return rows.map(({ block, current }) => `${block}${current ? '' : ' gone'}`);
};

describe('a reorg', () => {
  test('marks the rows it takes back, in the middle of a batch, and the views tell them apart', async () => {
    const result = await play('marked', 5, blocks(0, 3), blocks(2, 5, 'b', 'a'));
    expect(result).toMatchObject({ end: 'complete', reorgs: 1 });
    expect(await rowsOf('marked_current')).toEqual(['0', '1', '2', '3', '4', '5']);
    expect(await rowsOf('marked_history', '_current')).toEqual([
      '0',
      '1',
      '2 gone',
      '2',
      '3 gone',
      '3',
      '4',
      '5',
    ]);
    const { rows } = await database.pool.query(
      `select row_count as rows from strata.stream_batches join strata.sources using (source_id) where stream = 'marked' order by start_block`,
    );
    expect(rows).toEqual([{ rows: 2 }, { rows: 4 }]);
  });

  test('that brings a block back which an earlier one took keeps its first copy as history', async () => {
    await play('again', 4, blocks(0, 1), blocks(2, 2), blocks(2, 2, 'b', 'a'), blocks(2, 2), blocks(3, 4));
    expect(await rowsOf('again_current')).toEqual(['0', '1', '2', '3', '4']);
    expect(await rowsOf('again_history', '_current')).toEqual(['0', '1', '2 gone', '2 gone', '2', '3', '4']);
    const { rows } = await database.pool.query<{ copies: number }>(
      'select count(*)::int as copies from public.again where _block_num = 2 group by _batch_id order by 1',
    );
    expect(rows.map(({ copies }) => copies)).toEqual([1, 2]);
    // It comes and goes once more: only the copy on the chain is marked, and counted.
    const server = await serve([rangeOf(0, 4, 'c')], () => [...blocks(2, 4, 'c', 'a'), { wait: 'for ever' }]);
    await load({
      pool: database.pool,
      url: server.url,
      stream: 'again',
      settings: { ...HISTORY, table: 'again' },
    });
    expect(await rowsOf('again_history', '_current')).toEqual([
      '0',
      '1',
      '2 gone',
      '2 gone',
      '2 gone',
      '2',
      '3 gone',
      '3',
      '4 gone',
      '4',
    ]);
  });

  test.each([
    ['a table', {}],
    ['a partition set', { partition: { time: 'timestamp', hash: 'address', modulus: 2 } }],
  ])(
    'live: what is current in %s equals one clean pass, and history grows by what was taken back',
    async (name, extra) => {
      const chain = createChain({ accounts: 9, logsPerBlock: 3, blocks: 30, blockSeconds: 40_000 });
      const devnet = await startDevnet({ chain, microbatchBlocks: 8 });
      cleanups.push(devnet.stop);
      const table = `live_${name.length}`;
      const settings = { ...LOGS, ...extra, table, reorg: 'history' };
      const live = follow({ pool: database.pool, url: devnet.url, stream: table, settings });
      await until('the first blocks', () => live.committed() === 29);
      const before = logsOf(chain);
      chain.reorg(5, 6); // starts inside a batch of eight blocks
      await until('the new branch', () => live.committed() === 30);
      await live.stop();
      expectSame(await storedLogs(database.pool, `public.${table}_current`), logsOf(chain));
      expectSame(
        await storedLogs(database.pool, `(select * from public.${table} where not _current) gone`),
        before.filter((line) => !logsOf(chain).includes(line)),
      );
      await expectLedger(database.pool, table, chain, { rows: logsOf(chain).length });
    },
  );
});

describe('a table that is there', () => {
  test('without the mark is refused with the statement that adds it, and taken with it', async () => {
    await database.pool.query(
      `create table public.plain (value text, _block_num bigint not null, _batch_id bigint not null)`,
    );
    const server = await serve([rangeOf(0, 1)], () => [...blocks(0, 1), { wait: 'for ever' }]);
    const request = {
      pool: database.pool,
      url: server.url,
      stream: 'plain',
      settings: { ...HISTORY, table: 'plain', columns: { value: 'value' } },
    };
    const error = await failureOf(load(request));
    expect(error).toMatchObject({ kind: 'config', detail: { column: '_current' } });
    const [statement] = /alter table [^.]+/.exec(error.detail.remedy ?? '') ?? [];
    await database.pool.query(statement!);
    await load(request);
    expect(await rowsOf('plain_current')).toEqual(['0', '1']);
  });
});
