/** Against Arrow's own Flight SQL server in Go: real SQL, its types, its errors. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { connectFlight } from '../../src/flight/client.ts';
import type { FlightClient, FlightMessage } from '../../src/flight/client.ts';
import { wrapQuery } from '../../src/flight/block-window.ts';
import { useDatabase } from '../database.ts';
import { collect, failureOf } from '../flight/collect.ts';
import { WRAPPED_QUERIES } from '../flight/wrapped-queries.ts';
import { load } from '../jobs/loading.ts';
import { sqliteServer, start } from './tools.ts';
import type { Started } from './tools.ts';
import { plainColumn } from './values.ts';
import type { Plain } from './values.ts';

const database = useDatabase();

const command = sqliteServer();

const rowsOf = (messages: readonly FlightMessage[]): readonly (readonly Plain[])[] =>
  messages.flatMap(({ batch }) => {
    const columns = batch?.data.children.map((data) => plainColumn(data)) ?? [];
    return Array.from({ length: batch?.numRows ?? 0 }, (_, row) =>
      columns.map((column) => column[row] ?? null),
    );
  });

describe.runIf(command !== null)('Flight SQL over SQLite, in Go', () => {
  let server: Started;
  let client: FlightClient;
  let url: string;
  beforeAll(async () => {
    server = await start(command ?? '', ['-host', '127.0.0.1', '-port', '0']);
    const address = /127\.0\.0\.1:\d+/.exec(server.line)?.[0] ?? '';
    url = `grpc://${address}`;
    client = connectFlight({ url });
  });
  afterAll(async () => {
    client.close();
    await server.stop();
  });

  test('a table', async () => {
    const messages = await collect(client, 'SELECT * FROM intTable');
    expect(messages[0]?.schema.fields.map((field) => `${field.name} ${String(field.type)}`)).toEqual([
      'id Int64',
      'keyName Utf8',
      'value Int64',
      'foreignId Int64',
    ]);
    expect(rowsOf(messages)).toEqual([
      ['1', 'one', '1', '1'],
      ['2', 'zero', '0', '1'],
      ['3', 'negative one', '-1', '1'],
      ['4', null, null, null],
    ]);
  });

  test('WHERE and a join', async () => {
    expect(
      rowsOf(await collect(client, 'SELECT keyName FROM intTable WHERE value < 1 ORDER BY value')),
    ).toEqual([['negative one'], ['zero']]);
    const sql =
      'SELECT f.foreignName, count(*) FROM intTable i JOIN foreignTable f ON f.id = i.foreignId GROUP BY 1';
    expect(rowsOf(await collect(client, sql)).map((row) => row[0])).toEqual(['keyOne']);
  });

  test('constants', async () => {
    expect(rowsOf(await collect(client, 'SELECT 1'))).toEqual([['1']]);
  });

  test('no rows', async () => {
    expect(rowsOf(await collect(client, 'SELECT id FROM intTable WHERE 0 = 1'))).toEqual([]);
  });

  test('thousands of rows in several batches', async () => {
    const sql =
      'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) SELECT i FROM n';
    const rows = rowsOf(await collect(client, sql));
    expect(rows.map(([value]) => Number(value))).toEqual(
      Array.from({ length: 5000 }, (_, index) => index + 1),
    );
  });

  test('what the server refuses is an error with its words', async () => {
    const error = await failureOf(collect(client, 'SELECT * FROM nowhere'));
    expect(error.message).toContain('nowhere');
  });

  describe('a wrapped query gives the rows of its own that lie in the window', () => {
    beforeAll(async () => {
      await collect(client, 'CREATE TABLE logs (block_num INTEGER, kind TEXT, note TEXT)');
      await collect(
        client,
        `INSERT INTO logs WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 29)
           SELECT i / 3, CASE i % 3 WHEN 0 THEN 'a' WHEN 1 THEN 'b' ELSE 'c' END, '-- no; comment' FROM n`,
      );
    });

    test.each(Object.entries(WRAPPED_QUERIES))('%s', async (_name, query) => {
      // The server's driver takes a bare statement only: what is behind it is what the wrapped form leaves out.
      const all = rowsOf(await collect(client, wrapQuery(query, 'block_num', { from: 0, to: null })));
      const lines = (rows: typeof all): string[] => rows.map((row) => JSON.stringify(row)).toSorted();
      const wanted = all.filter(([block]) => Number(block) >= 3 && Number(block) < 7);
      expect(wanted.length).toBeGreaterThan(0);
      const wrapped = rowsOf(await collect(client, wrapQuery(query, 'block_num', { from: 3, to: 7 })));
      expect(lines(wrapped)).toEqual(lines(wanted));
    });

    test('and a catch-up in parallel loads all of them', async () => {
      for (const [index, query] of Object.values(WRAPPED_QUERIES).entries()) {
        const stream = `wrapped_${index}`;
        const parallel = { workers: 3, partition_blocks: 2 };
        const settings = { load: 'rows', table: stream, block: 'block_num', query, parallel };
        const request = {
          pool: database.pool,
          url,
          stream,
          settings,
          from: 0,
          to: 10,
          kind: 'flight-sql',
        } as const;
        const { rows } = await load(request);
        expect(rows).toBe(
          rowsOf(await collect(client, wrapQuery(query, 'block_num', { from: 0, to: null }))).length,
        );
        expect(await load(request)).toMatchObject({ end: 'nothing new', rows: 0 });
      }
    });
  });
});
