/** Against a Flight server made with pyarrow: every type, odd batches, compression, several endpoints. */
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { connectFlight } from '../../src/flight/client.ts';
import type { FlightClient, FlightMessage } from '../../src/flight/client.ts';
import { collect, failureOf, rowsOf } from '../flight/collect.ts';
import { pythonWithPyarrow, start } from './tools.ts';
import type { Started } from './tools.ts';
import { plainColumn } from './values.ts';
import type { Plain } from './values.ts';

const SCRIPT = join(import.meta.dirname, 'pyarrow_server.py');
const python = pythonWithPyarrow();

type Columns = Readonly<Record<string, readonly Plain[]>>;

const columnsOf = (messages: readonly FlightMessage[]): Columns => {
  const columns: Record<string, Plain[]> = {};
  for (const { batch, schema } of messages) {
    for (const [index, { name }] of schema.fields.entries()) {
      const data = batch?.data.children[index];
      (columns[name] ??= []).push(...(data === undefined ? [] : plainColumn(data)));
    }
  }
  return columns;
};

describe.runIf(python !== null).each(['none', 'lz4', 'zstd'])('pyarrow, compression %s', (compression) => {
  let server: Started;
  let client: FlightClient;
  let expected: Readonly<Record<string, Columns>>;
  beforeAll(async () => {
    server = await start(python ?? '', [SCRIPT, ...(compression === 'none' ? [] : [compression])]);
    const said = JSON.parse(server.line) as { port: number; expected: typeof expected };
    ({ expected } = said);
    client = connectFlight({ url: `grpc://127.0.0.1:${said.port}` });
  });
  afterAll(async () => {
    client.close();
    await server.stop();
  });

  test.each(['every type', 'sliced'])('%s', async (query) => {
    const columns = columnsOf(await collect(client, query));
    expect(Object.keys(columns)).toEqual(Object.keys(expected[query] ?? {}));
    for (const [name, values] of Object.entries(columns))
      expect(values, name).toEqual(expected[query]?.[name]);
  });

  test('a result without rows has its schema', async () => {
    const messages = await collect(client, 'no rows');
    expect(rowsOf(messages)).toBe(0);
    expect(messages[0]?.schema.fields.map(({ name }) => name)).toEqual(
      Object.keys(expected['every type'] ?? {}),
    );
  });

  test('empty batches come, each with the metadata of its own message', async () => {
    const messages = (await collect(client, 'empty batches')).filter(({ batch }) => batch !== null);
    expect(
      messages.map(({ batch, metadata }) => [batch?.numRows, metadata && Buffer.from(metadata).toString()]),
    ).toEqual([
      [0, 'first'],
      [3, 'second'],
      [0, 'third'],
      [0, 'alone'],
      [1, null],
    ]);
  });

  test('a message of 20 MB', async () => {
    const messages = (await collect(client, 'large')).filter(({ batch }) => batch !== null);
    expect(rowsOf(messages)).toBe(20_000);
    expect(Buffer.from(messages[0]?.metadata ?? []).toString()).toBe('20 MB');
    const values = messages.flatMap(({ batch }) => Array.from(batch?.getChild('b') ?? []));
    expect(values.every((value) => Buffer.compare(value as Uint8Array, Buffer.alloc(1000, 7)) === 0)).toBe(
      true,
    );
  });

  test('a dictionary that changes between batches', async () => {
    expect(columnsOf(await collect(client, 'growing dictionary'))).toEqual({ c: ['a', 'b', 'c', null, 'a'] });
  });

  test('a batch whose dictionary never came is refused, as pyarrow itself does', async () => {
    const error = await failureOf(collect(client, 'lost dictionary'));
    expect(error.kind).toBe('protocol');
    expect(error.message).toContain('before their dictionary');
  });

  test('several endpoints, in order', async () => {
    const { n } = columnsOf(await collect(client, 'endpoints'));
    expect(n).toEqual(Array.from({ length: 30 }, (_, index) => String(index)));
  });

  test('the server’s refusal is an error with its words', async () => {
    const error = await failureOf(collect(client, 'nothing like it'));
    expect(error.message).toContain('nothing like it');
    expect(error.detail.grpcStatus).toBeDefined();
  });
});
