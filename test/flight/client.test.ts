/** The Flight client against a devnet: whole results, streams, cancellation, credentials. */
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createChain } from '../../src/devnet/chain.ts';
import { startDevnet } from '../../src/devnet/server.ts';
import type { Devnet } from '../../src/devnet/server.ts';
import { connectFlight } from '../../src/flight/client.ts';
import type { FlightClient } from '../../src/flight/client.ts';
import { queryFlight } from '../../src/flight/query.ts';
import { collect, failureOf, gather, readUntil, rowsOf, until, visible } from './collect.ts';

const TOKEN = 'tok-3f9c-do-not-show';

describe('against a devnet', () => {
  let devnet: Devnet;
  let client: FlightClient;
  beforeAll(async () => {
    const chain = createChain({
      seed: 7,
      blocks: 50,
      accounts: 40,
      tokens: 3,
      transfersPerBlock: 20,
      logsPerBlock: 5,
    });
    devnet = await startDevnet({ chain, token: TOKEN, keepAliveRate: 0.5, rowsPerMessage: 100 });
    client = connectFlight({ url: devnet.url, token: () => Promise.resolve(`${TOKEN}\n`) });
  });
  afterAll(async () => {
    client.close();
    await devnet.stop();
  });

  test('reads a whole table with its types', async () => {
    const messages = await collect(client, 'SELECT *, _block_num FROM transfers');
    expect(rowsOf(messages)).toBe(40 * 3 + 49 * 20);
    expect(messages[0]?.schema.fields.map((field) => `${field.name} ${String(field.type)}`)).toEqual([
      'block_num Uint64',
      'timestamp Timestamp<NANOSECOND, UTC>',
      'log_index Uint32',
      'tx_hash FixedSizeBinary[32]',
      'token FixedSizeBinary[20]',
      'from FixedSizeBinary[20]',
      'to FixedSizeBinary[20]',
      'value Utf8',
      '_block_num Uint64',
    ]);
  });

  test('says the schema before and without any row', async () => {
    const [first, ...rest] = await collect(client, 'SELECT value FROM transfers WHERE block_num < 0');
    expect(first?.batch).toBeNull();
    expect(first?.metadata).toBeNull();
    expect(first?.schema.fields.map(({ name }) => name)).toEqual(['value']);
    expect(rowsOf(rest)).toBe(0);
  });

  test('decoded values are the chain’s own', async () => {
    const messages = await collect(client, 'SELECT number, hash FROM blocks');
    const view = devnet.chain.view();
    const rows = messages.flatMap(({ batch }) => (batch === null ? [] : batch.toArray()));
    expect(rows.map((row) => Number(row['number']))).toEqual(Array.from({ length: 50 }, (_, block) => block));
    expect(rows.map((row) => `0x${Buffer.from(row['hash']).toString('hex')}`)).toEqual(
      Array.from({ length: 50 }, (_, block) => view.hashOf(block)),
    );
  });

  test('each message keeps its own metadata, empty batches among them', async () => {
    const messages = await gather(queryFlight(client, 'SELECT * FROM transfers'));
    const batches = messages.filter(({ batch }) => batch !== null);
    expect(batches.length).toBeGreaterThan(8);
    expect(batches.filter(({ batch }) => batch?.numRows === 0).length).toBeGreaterThan(2);
    expect(batches.map(({ metadata }) => metadata?.complete)).toEqual([
      ...batches.slice(1).map(() => false),
      true,
    ]);
    expect(batches.at(-1)?.batch?.numRows).toBe(0);
  });

  test('abandoning a query cancels it at the server', async () => {
    const messages = await readUntil(client, 'SELECT * FROM transfers', ({ length }) => length === 2, {
      stream: true,
    });
    expect(messages).toHaveLength(2);
    await until(() => devnet.activeStreams() === 0);
  });

  test('an aborted signal cancels a waiting stream', async () => {
    const stop = new AbortController();
    const reading = gather(client.query('SELECT * FROM logs', { stream: true, signal: stop.signal }));
    await until(() => devnet.activeStreams() === 1);
    stop.abort();
    expect(await failureOf(reading)).toMatchObject({
      kind: 'cancelled',
      detail: { grpcStatus: 'CANCELLED' },
    });
    await until(() => devnet.activeStreams() === 0);
  });

  test('closing the client ends what runs, and nothing begins after it', async () => {
    const other = connectFlight({ url: devnet.url, token: TOKEN });
    const reading = failureOf(collect(other, 'SELECT * FROM logs', { stream: true }));
    await until(() => devnet.activeStreams() === 1);
    other.close();
    expect((await reading).kind).toBe('cancelled');
    expect((await failureOf(collect(other, 'SELECT * FROM logs'))).kind).toBe('cancelled');
    await until(() => devnet.activeStreams() === 0);
  });

  test('a signal that is aborted already sends nothing', async () => {
    const error = await failureOf(collect(client, 'SELECT * FROM logs', { signal: AbortSignal.abort() }));
    expect(error.kind).toBe('cancelled');
  });

  test('a bad query is the server’s word, with the server’s name', async () => {
    const error = await failureOf(collect(client, 'SELECT * FROM nowhere'));
    expect(error).toMatchObject({ kind: 'protocol', detail: { grpcStatus: 'INVALID_ARGUMENT' } });
    expect(error.message).toContain(client.server);
    expect(error.message).toContain('nowhere');
    expect(error.detail.remedy).toBeDefined();
  });

  test('a wrong or missing token is an auth error that does not show it', async () => {
    for (const token of ['wrong-token-value', undefined]) {
      const other = connectFlight({ url: devnet.url, token });
      const error = await failureOf(collect(other, 'SELECT * FROM logs'));
      expect(error).toMatchObject({ kind: 'auth', detail: { grpcStatus: 'UNAUTHENTICATED' } });
      expect(visible(error)).not.toContain('wrong-token-value');
      other.close();
    }
  });

  test('a token that cannot be a header is refused without being shown', async () => {
    for (const token of [`${TOKEN}\u0000x`, '', () => Promise.reject(new Error('no vault'))]) {
      const other = connectFlight({ url: devnet.url, token });
      const error = await failureOf(collect(other, 'SELECT * FROM logs'));
      expect(error.kind).toBe('auth');
      expect(visible(error)).not.toContain(TOKEN);
      other.close();
    }
  });

  test('a header that cannot be sent is named', async () => {
    const error = await failureOf(collect(client, 'SELECT * FROM logs', { headers: { 'bad header': 'x' } }));
    expect(error).toMatchObject({ kind: 'usage' });
    expect(error.message).toContain('bad header');
  });

  test('many queries at once share one connection', async () => {
    const results = await Promise.all(
      Array.from({ length: 12 }, (_, block) =>
        collect(client, `SELECT * FROM logs WHERE block_num = ${block}`),
      ),
    );
    expect(results.map(rowsOf)).toEqual(results.map(() => 5));
  });
});

describe('reaching the server', () => {
  test('nobody listening fails at once', async () => {
    const client = connectFlight({ url: 'grpc://127.0.0.1:1', token: TOKEN });
    const started = performance.now();
    const error = await failureOf(collect(client, 'SELECT 1'));
    expect(error).toMatchObject({ kind: 'connection', detail: { grpcStatus: 'UNAVAILABLE' } });
    expect(error.message).toContain('127.0.0.1:1');
    expect(visible(error)).not.toContain(TOKEN);
    expect(performance.now() - started).toBeLessThan(5_000);
    client.close();
  });

  test('a server that says nothing is given up after the time allowed', async () => {
    const silent = createServer(() => {});
    await new Promise<void>((resolve) => {
      silent.listen(0, '127.0.0.1', resolve);
    });
    const { port } = silent.address() as AddressInfo;
    const client = connectFlight({
      url: `grpc://127.0.0.1:${port}`,
      connectTimeout_ms: 200,
      infoTimeout_ms: 100,
    });
    const error = await failureOf(collect(client, 'SELECT 1'));
    expect(error).toMatchObject({ kind: 'connection', detail: { grpcStatus: 'DEADLINE_EXCEEDED' } });
    client.close();
    silent.close();
  });

  test.each(['ftp://host:1', 'host:1', '', 'grpc://', 'grpc://user:hunter2@host:1'])(
    'refuses %s',
    async (url) => {
      const error = await failureOf(Promise.resolve().then(() => connectFlight({ url })));
      expect(error.kind).toBe('config');
      expect(visible(error)).not.toContain('hunter2');
    },
  );

  test('plaintext leaves this machine only when allowed by name', async () => {
    const url = 'grpc://flight.example.com:1602';
    const error = await failureOf(Promise.resolve().then(() => connectFlight({ url })));
    expect(error).toMatchObject({ kind: 'config' });
    expect(error.message).toContain('flight.example.com:1602');
    connectFlight({ url, allowPlaintext: true }).close();
    for (const fine of [
      'grpc://localhost:1',
      'http://[::1]:1',
      'grpc+tls://flight.example.com:1',
      'https://a.b',
    ]) {
      connectFlight({ url: fine }).close();
    }
  });
});
