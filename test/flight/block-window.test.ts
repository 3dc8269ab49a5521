/** The wrapped query in real SQL engines: whatever the query is, it gives the rows of its own that lie in the window. */
import { DatabaseSync } from 'node:sqlite';
import { describe, expect, test } from 'vitest';
import { createChain } from '../../src/devnet/chain.ts';
import { parseQuery } from '../../src/devnet/sql.ts';
import { wrapQuery } from '../../src/flight/block-window.ts';
import { parseConfig } from '../../src/runtime/config.ts';
import { useDatabase } from '../database.ts';
import { WRAPPED_QUERIES } from './wrapped-queries.ts';

const database = useDatabase();

const WINDOW = { from: 3, to: 7 };

/** Blocks 0 to 9, three rows in each, in a table that any engine can have. */
const SET_UP = `create table logs (block_num bigint, kind text, note text);
insert into logs with recursive n(i) as (select 0 union all select i + 1 from n where i < 29)
  select i / 3, case i % 3 when 0 then 'a' when 1 then 'b' else 'c' end, '-- no; comment' from n;`;

interface Row {
  readonly block_num: number;
}

const expectWindow = (all: readonly Row[], wrapped: readonly Row[]): void => {
  const lines = (rows: readonly Row[]): string[] => rows.map((row) => JSON.stringify(row)).toSorted();
  const wanted = all.filter(({ block_num: block }) => block >= WINDOW.from && block < WINDOW.to);
  expect(lines(wrapped)).toEqual(lines(wanted));
  expect(wanted.length).toBeGreaterThan(0);
  expect(wanted.length).toBeLessThan(all.length);
};

describe.each(Object.entries(WRAPPED_QUERIES))('%s', (_name, query) => {
  test('SQLite', () => {
    const sqlite = new DatabaseSync(':memory:');
    sqlite.exec(SET_UP);
    const rowsOf = (sql: string): Row[] => sqlite.prepare(sql).all() as unknown as Row[];
    expectWindow(rowsOf(query), rowsOf(wrapQuery(query, 'block_num', WINDOW)));
    sqlite.close();
  });

  test('PostgreSQL', async () => {
    const client = await database.pool.connect();
    try {
      await client.query('begin');
      await client.query(SET_UP.replace('create table', 'create temp table'));
      const rowsOf = async (sql: string): Promise<Row[]> => (await client.query<Row>(sql)).rows;
      expectWindow(await rowsOf(query), await rowsOf(wrapQuery(query, 'block_num', WINDOW)));
      await client.query('rollback');
    } finally {
      client.release();
    }
  });

  test('a policy file takes it', () => {
    const config = parseConfig(
      JSON.stringify({
        servers: { s: { url: 'grpc://127.0.0.1:1' } },
        streams: { logs: { server: 's', load: 'rows', table: 'logs', query } },
      }),
      {},
    );
    expect(config.streams['logs']?.query).toBe(query.trim());
  });
});

test('of several networks, the rows of one: whatever its name', () => {
  const sqlite = new DatabaseSync(':memory:');
  sqlite.exec(`${SET_UP} update logs set kind = 'it''s' where kind = 'b'`);
  const only = { column: 'kind', network: `it's` };
  const rows = sqlite.prepare(wrapQuery('SELECT * FROM logs', 'block_num', WINDOW, only)).all();
  expect(rows.map(({ block_num: block, kind }) => [block, kind])).toEqual(
    [3, 4, 5, 6].map((block) => [block, `it's`]),
  );
  sqlite.close();
});

describe('in the devnet', () => {
  const { tables } = createChain();
  test.each([
    'SELECT _block_num, value FROM transfers WHERE _block_num < 2 OR _block_num > 4',
    'SELECT _block_num FROM (SELECT _block_num, note FROM logs ORDER BY _block_num); -- done',
    'WITH x AS (SELECT _block_num FROM logs) SELECT * FROM x',
  ])('%s', (query) => {
    const inside = [{ from: 3, to: 6 }];
    const { blocks } = parseQuery(query, tables);
    const wrapped = parseQuery(wrapQuery(query, '_block_num', WINDOW), tables).blocks;
    const holds = (intervals: typeof blocks, block: number): boolean =>
      intervals.some(({ from, to }) => block >= from && block <= to);
    for (let block = 0; block < 10; block++)
      expect(holds(wrapped, block)).toBe(holds(blocks, block) && holds(inside, block));
  });
});

describe('what cannot be wrapped is refused', () => {
  test.each(['SELECT 1; SELECT 2', '-- nothing', ';', 'SELECT 1 /* a /* b */ FROM t', 'SELECT 1 /* open'])(
    '%s',
    (query) => {
      expect(() => wrapQuery(query, 'block_num', WINDOW)).toThrow(/not one statement/);
      expect(wrapQuery(query, 'block_num', { from: null, to: null })).toBe(query);
    },
  );

  test.each([
    ['SELECT 1 SETTINGS stream = true', true],
    ['SELECT 1\nsettings stream=false; -- so', true],
    ["SELECT 'SETTINGS stream = true' AS x FROM settings WHERE settings = 1", false],
  ])('%s: %s', (query, refused) => {
    const text = JSON.stringify({
      servers: { s: { url: 'grpc://127.0.0.1:1' } },
      streams: { logs: { server: 's', load: 'rows', table: 'logs', query } },
    });
    const parse = (): unknown => parseConfig(text, {});
    if (refused) expect(parse).toThrow(/must not end in SETTINGS/);
    else expect(parse).not.toThrow();
  });
});
