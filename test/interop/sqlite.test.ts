/** Against Arrow's own Flight SQL server in Go: real SQL, its types, its errors. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { connectFlight } from '../../src/flight/client.ts';
import type { FlightClient, FlightMessage } from '../../src/flight/client.ts';
import { collect, failureOf } from '../flight/collect.ts';
import { sqliteServer, start } from './tools.ts';
import type { Started } from './tools.ts';
import { plainColumn } from './values.ts';
import type { Plain } from './values.ts';

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
  beforeAll(async () => {
    server = await start(command ?? '', ['-host', '127.0.0.1', '-port', '0']);
    const address = /127\.0\.0\.1:\d+/.exec(server.line)?.[0] ?? '';
    client = connectFlight({ url: `grpc://${address}` });
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

  test('the wrapped form of a partition is plain SQL', async () => {
    const sql =
      'WITH strata_partition AS (SELECT * FROM (SELECT id AS block_num, keyName FROM intTable\n) AS q WHERE block_num >= 2 AND block_num < 4) SELECT * FROM strata_partition';
    expect(rowsOf(await collect(client, sql))).toEqual([
      ['2', 'zero'],
      ['3', 'negative one'],
    ]);
  });
});
