/** Labels joined on load: no row lost or doubled unless asked, counted, and taken back by reorgs like any other row. */
import { afterEach, describe, expect, test } from 'vitest';
import { createChain } from '../../src/devnet/chain.ts';
import type { SimulatedChain } from '../../src/devnet/chain.ts';
import { startDevnet } from '../../src/devnet/server.ts';
import type { Devnet, DevnetOptions } from '../../src/devnet/server.ts';
import { removeLabels } from '../../src/warehouse/labels/registry.ts';
import { useDatabase } from '../database.ts';
import { until } from '../db/until.ts';
import { failureOf } from '../flight/collect.ts';
import { follow, load, LOGS } from '../jobs/loading.ts';
import { logsOf, storedLogs } from '../jobs/log-rows.ts';
import { expectLedger, expectSame, openTransactions } from '../jobs/oracle.ts';
import { addText } from './files.ts';

const database = useDatabase();

const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup();
  expect(await openTransactions(database.pool)).toEqual([]);
});

const serve = async (options: Omit<DevnetOptions, 'chain'> = {}): Promise<Devnet<SimulatedChain>> => {
  const chain = createChain({
    seed: 5,
    blocks: 50,
    transfersPerBlock: 1,
    logsPerBlock: 9,
    blockSeconds: 20_000,
  });
  const devnet = await startDevnet({ chain, microbatchBlocks: 8, ...options });
  cleanups.push(devnet.stop);
  return devnet;
};

/** Label tables are joined in the loader's memory, or, where they are larger than it may take, in SQL. */
const MEMORY = {};
const SQL = { labelMemory_bytes: 0 };

/** Cells of a line of {@link logsOf}. */
const ADDRESS_CELL = 3;
const addressOf = (line: string): string => String((JSON.parse(line) as unknown[])[ADDRESS_CELL]);

/** Every second contract of the chain, by address, with the name its label gives it. */
const labelsOf = (chain: SimulatedChain): Map<string, string> => {
  const addresses = [...new Set(logsOf(chain).map(addressOf))].toSorted();
  return new Map(
    addresses
      .filter((_address, index) => index % 2 === 0)
      .map((address, index) => [address, `contract ${index}`]),
  );
};

const fileOf = (labels: ReadonlyMap<string, string>): string =>
  `address,name,rank\n${[...labels].map(([address, name], index) => `0x${address},${name},${index}\n`).join('')}`;

/** How many rows of a table carry each name, and how many none. */
const namesIn = async (table: string, column = 'name'): Promise<Map<string | null, number>> => {
  const { rows } = await database.pool.query<{ name: string | null; rows: number }>(
    `select ${column} as name, count(*)::int as rows from ${table} group by 1`,
  );
  return new Map(rows.map(({ name, rows: count }) => [name, count]));
};

const expectedNames = (
  lines: readonly string[],
  labels: ReadonlyMap<string, string>,
): Map<string | null, number> => {
  const counts = new Map<string | null, number>();
  for (const line of lines) {
    const name = labels.get(addressOf(line)) ?? null;
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  return counts;
};

const ledgerSums = async (stream: string): Promise<unknown> =>
  (
    await database.pool.query(
      `select row_count as rows, unmatched, dropped from strata.stream_positions where stream = $1`,
      [stream],
    )
  ).rows[0];

describe('a left join', () => {
  test.each([
    ['in one part', {}, MEMORY],
    ['in many small parts and messages', { commit_rows: 50 }, MEMORY],
    ['in many small parts and messages, joined in SQL', { commit_rows: 50 }, SQL],
    ['into a partition set', { partition: { time: 'timestamp', hash: 'address', modulus: 2 } }, MEMORY],
    ['into a partition set, joined in SQL', { partition: { time: 'timestamp', hash: 'address' } }, SQL],
  ])('loads every row once, with its label: %s', async (what, extra, way) => {
    const { url, chain } = await serve({ rowsPerMessage: 20 });
    const labels = labelsOf(chain);
    const stream = `left_${what.length}`;
    await addText(database.pool, stream, fileOf(labels));
    const settings = { ...LOGS, ...extra, table: stream, labels: [{ name: stream, on: 'address' }] };
    const lines = logsOf(chain);
    const unmatched = lines.filter((line) => !labels.has(addressOf(line))).length;
    expect(unmatched).toBeGreaterThan(0);
    const result = await load({ pool: database.pool, url, stream, settings, ...way });
    expect(result).toMatchObject({ end: 'complete', rows: lines.length, unmatched, dropped: 0 });
    expectSame(await storedLogs(database.pool, stream), lines);
    expect(await namesIn(stream)).toEqual(expectedNames(lines, labels));
    await expectLedger(database.pool, stream, chain, { rows: lines.length });
    expect(await ledgerSums(stream)).toEqual({ rows: lines.length, unmatched, dropped: 0 });
  });

  test.each([
    ['in memory', MEMORY],
    ['in SQL', SQL],
  ])('of two labels with prefixes, into a table with its own types: %s', async (_where, way) => {
    const { url, chain } = await serve();
    const labels = labelsOf(chain);
    await addText(database.pool, 'two_names', fileOf(labels), { replace: true });
    await addText(database.pool, 'two_notes', 'note,kind\nswap,trade\n"say ""no""",talk\n', {
      key: 'note',
      replace: true,
    });
    const stream = way === SQL ? 'two_in_sql' : 'two_in_memory';
    await database.pool.query(
      `drop table if exists public.two; create table public.two (address text, note text, a_rank numeric, b_kind text not null default 'none', _block_num bigint, _batch_id bigint)`,
    );
    const settings = {
      ...LOGS,
      table: 'two',
      columns: { address: 'address', note: 'note' },
      labels: [
        { name: 'two_names', on: 'address', prefix: 'a_' },
        { name: 'two_notes', on: 'note', prefix: 'b_', join: 'inner' },
      ],
    };
    const lines = logsOf(chain).filter((line) => /"swap"|"say /.test(line));
    const result = await load({ pool: database.pool, url, stream, settings, ...way });
    expect(result).toMatchObject({ rows: lines.length, dropped: logsOf(chain).length - lines.length });
    expect(await namesIn('two', 'a_name')).toEqual(expectedNames(lines, labels));
    expect(new Set((await namesIn('two', 'b_kind')).keys())).toEqual(new Set(['talk', 'trade']));
  });
});

describe('values of every type', () => {
  test.each([
    ['in memory', MEMORY],
    ['in SQL', SQL],
  ])('arrive as the labels have them: %s', async (_where, way) => {
    const { url, chain } = await serve();
    const addresses = [...labelsOf(chain).keys()];
    const cells = (index: number): string =>
      [
        index % 2 === 0,
        index - 5,
        `${index}.50`,
        '2024-02-29',
        '2024-02-29T12:00:00.123456Z',
        `"a ""b"" ${'ß'.repeat(index * 9)}"`,
        `0x${'ab'.repeat(index)}`,
      ]
        .map((cell, column) => ((index + column) % 4 === 0 ? '' : cell))
        .join(',');
    const file = `address,t_bool,t_int,t_num,t_day,t_time,t_text,t_bytes,t_wide,t_plain\n${addresses.map((address, index) => `0x${address},${cells(index)},${index},${index}\n`).join('')}`;
    await addText(database.pool, 'typed', file, { replace: true, types: { t_bytes: 'bytea' } });
    const stream = way === SQL ? 'typed_sql' : 'typed_memory';
    await database.pool.query(
      `create table public.${stream} (address bytea, t_wide numeric, t_plain varchar, t_day text, _block_num bigint, _batch_id bigint)`,
    );
    const settings = {
      ...LOGS,
      table: stream,
      columns: { address: 'address' },
      labels: [{ name: 'typed', on: 'address' }],
    };
    await load({ pool: database.pool, url, stream, settings, ...way });
    const columns = ['t_bool', 't_int', 't_num', 't_day', 't_time', 't_text', 't_bytes', 't_wide', 't_plain'];
    const { rows } = await database.pool.query(
      `select count(*)::int as rows, count(t.t_text)::int > 0 as texts,
              count(*) filter (where (${columns.map((column) => `t.${column}::text`).join(', ')}) is distinct from (${columns.map((column) => `l.${column}::text`).join(', ')}))::int as wrong
         from ${stream} t left join strata.labels_typed l on l.account_address = t.address`,
    );
    expect(rows).toEqual([{ rows: logsOf(chain).length, texts: true, wrong: 0 }]);
  });
});

describe('an inner join', () => {
  test.each([
    ['in memory', MEMORY],
    ['in SQL', SQL],
  ])('leaves rows without a label out, and ledger and result say how many: %s', async (_where, way) => {
    const { url, chain } = await serve({ rowsPerMessage: 20 });
    const labels = labelsOf(chain);
    await addText(database.pool, 'inner_names', fileOf(labels), { replace: true });
    const stream = way === SQL ? 'inner_sql' : 'inner_memory';
    const settings = {
      ...LOGS,
      table: stream,
      commit_rows: 60,
      labels: [{ name: 'inner_names', on: 'address', join: 'inner', columns: ['name'] }],
    };
    const lines = logsOf(chain).filter((line) => labels.has(addressOf(line)));
    const dropped = logsOf(chain).length - lines.length;
    const result = await load({ pool: database.pool, url, stream, settings, ...way });
    expect(result).toMatchObject({ rows: lines.length, unmatched: dropped, dropped });
    expectSame(await storedLogs(database.pool, stream), lines);
    await expectLedger(database.pool, stream, chain, { rows: lines.length });
    const { rows } = await database.pool.query(
      `select count(*)::int as wrong from strata.stream_batches b join strata.sources s using (source_id)
        where s.stream = $1 and b.row_count <> (select count(*) from ${stream} l where l._block_num between b.start_block and b.end_block)`,
      [stream],
    );
    expect(rows).toEqual([{ wrong: 0 }]);
  });
});

describe('a followed stream with labels', () => {
  test.each([
    ['left', MEMORY],
    ['inner', MEMORY],
    ['inner', SQL],
  ] as const)('takes back what a reorg drops: %s, %j', async (join, way) => {
    const stream = `live_${join}_${way === SQL ? 'sql' : 'memory'}`;
    const { url, chain } = await serve();
    const labels = labelsOf(chain);
    await addText(database.pool, stream, fileOf(labels));
    const settings = { ...LOGS, table: stream, labels: [{ name: stream, on: 'address', join }] };
    const live = follow({ pool: database.pool, url, stream, settings, ...way });
    await until('the first blocks', () => live.committed() === 49);
    chain.reorg(5, 6); // starts inside a batch of eight blocks
    await until('the new branch', () => live.committed() === 50);
    chain.reorg(30, 31);
    await until('a deep one', () => live.committed() === 51);
    expect(await live.stop()).toMatchObject({ end: 'stopped', reorgs: 2 });
    const lines = logsOf(chain).filter((line) => join === 'left' || labels.has(addressOf(line)));
    expectSame(await storedLogs(database.pool, stream), lines);
    expect(await namesIn(stream)).toEqual(expectedNames(lines, labels));
    await expectLedger(database.pool, stream, chain, { rows: lines.length });
  });

  test('sees replaced labels whole: each batch has those of one generation', async () => {
    const { url, chain } = await serve();
    const labels = labelsOf(chain);
    const generation = (number: number): string =>
      fileOf(new Map([...labels.keys()].map((address) => [address, `generation ${number}`])));
    await addText(database.pool, 'renewed', generation(0));
    const settings = {
      ...LOGS,
      table: 'renewed',
      labels: [{ name: 'renewed', on: 'address', columns: ['name'] }],
    };
    const live = follow({ pool: database.pool, url, stream: 'renewed', settings });
    await until('the first blocks', () => live.committed() === 49);
    for (let number = 1; number <= 10; number++) {
      const replacing = addText(database.pool, 'renewed', generation(number), { replace: true });
      chain.advance(2);
      await replacing;
    }
    await until('the last block', () => live.committed() === 69);
    chain.advance(1);
    await until('a block behind the last labels', () => live.committed() === 70);
    await live.stop();
    expectSame(await storedLogs(database.pool, 'renewed'), logsOf(chain));
    const { rows } = await database.pool.query(
      `select _batch_id from renewed where name is not null group by 1 having count(distinct name) > 1`,
    );
    expect(rows).toEqual([]);
    expect(await namesIn('(select * from renewed where _block_num = 70) last')).toEqual(
      expectedNames(
        logsOf(chain, 70, 70),
        new Map([...labels.keys()].map((address) => [address, 'generation 10'])),
      ),
    );
  });
});

describe('what a stream joins', () => {
  test('cannot be removed or lose a column', async () => {
    const { url, chain } = await serve();
    await addText(database.pool, 'needed', fileOf(labelsOf(chain)));
    const settings = {
      ...LOGS,
      table: 'needed',
      labels: [{ name: 'needed', on: 'address', columns: ['rank'] }],
    };
    await load({ pool: database.pool, url, stream: 'needing', settings });
    const options = { configured: [], known: [], force: false };
    expect(await failureOf(removeLabels(database.pool, 'needed', options))).toMatchObject({
      kind: 'conflict',
      message: expect.stringContaining('needing') as string,
    });
    for (const [file, says] of [
      ['address,name\n0x01,a\n', /joins column rank, which the file does not have/],
      ['address,rank\n0x01,first\n', /joins column rank as bigint, and the file has values that are text/],
    ] as const) {
      const error = await failureOf(addText(database.pool, 'needed', file, { replace: true }));
      expect(error).toMatchObject({ kind: 'conflict', message: expect.stringMatching(says) as string });
    }
    await addText(database.pool, 'needed', 'address,rank,more\n0x01,5,x\n', { replace: true });
    chain.advance(1);
    expect(await load({ pool: database.pool, url, stream: 'needing', settings })).toMatchObject({
      unmatched: 9,
    });
    // The configuration at hand knows the stream, and that it joins them no more.
    await removeLabels(database.pool, 'needed', { ...options, known: ['needing'] });
  });

  test.each([
    ['labels that are not there', { name: 'absent', on: 'address' }, /there are no labels absent/],
    ['a column they do not have', { name: 'there', on: 'address', columns: ['x'] }, /have no column x/],
    [
      'by a column that is no account',
      { name: 'there', on: 'log_index', prefix: 'p_' },
      /is bigint, not an account/,
    ],
    ['by a column that is not there', { name: 'there', on: 'owner', prefix: 'p_' }, /has no column owner/],
    [
      'with a column the query has, too',
      { name: 'there', on: 'address', columns: ['note'] },
      /both bring a column note/,
    ],
  ])('is refused: %s', async (what, labels, says) => {
    const { url } = await serve();
    await addText(database.pool, 'there', 'address,note\n0x01,x\n', { replace: true });
    const stream = `refused_${what.length}`;
    const settings = { ...LOGS, table: stream, labels: [labels] };
    const error = await failureOf(load({ pool: database.pool, url, stream, settings }));
    expect(error).toMatchObject({
      kind: 'config',
      message: expect.stringMatching(says) as string,
      detail: { stream },
    });
    expect(error.detail.remedy).toBeTypeOf('string');
  });
});
