/** The Flight client against servers that misbehave: cut streams, odd endpoints, floods. */
import { createServer } from 'node:http2';
import type { Http2Server, ServerHttp2Stream } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { status } from '@grpc/grpc-js';
import { afterEach, describe, expect, test } from 'vitest';
import { READ_AHEAD_BYTES } from '../../src/flight/call.ts';
import { connectFlight } from '../../src/flight/client.ts';
import type { FlightClient, FlightOptions } from '../../src/flight/client.ts';
import { DO_GET, encapsulate, encodeFlightData, encodeFlightInfo } from '../../src/flight/messages.ts';
import { collect, failureOf, rowsOf, until, visible } from './collect.ts';
import { endpoint, numbersMessages, startFake } from './fake-server.ts';
import type { FakeBehaviour, FakeServer } from './fake-server.ts';

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup();
});

const connect = (options: FlightOptions): FlightClient => {
  const client = connectFlight(options);
  cleanups.push(client.close);
  return client;
};

const fake = async (
  behaviour: FakeBehaviour,
  options: Partial<FlightOptions> = {},
): Promise<{ server: FakeServer; client: FlightClient }> => {
  const server = await startFake(behaviour);
  cleanups.push(server.stop);
  return { server, client: connect({ url: server.url, ...options }) };
};

const EMPTY = new Uint8Array(0);
const numbers = numbersMessages(BigUint64Array.of(1n, 2n, 3n), Buffer.from('of the batch'));

/** gRPC's framing of one message: not compressed, length, bytes. */
const framed = (message: Buffer): Buffer => {
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(message.length, 1);
  return Buffer.concat([prefix, message]);
};

/** An HTTP/2 server that answers GetFlightInfo properly and DoGet with two whole messages, then `cut`. */
const startCutting = async (cut: (stream: ServerHttp2Stream) => void): Promise<FlightClient> => {
  const server: Http2Server = createServer();
  server.on('stream', (stream, headers) => {
    stream.on('error', () => {});
    stream.respond(
      { ':status': 200, 'content-type': 'application/grpc' },
      { waitForTrailers: headers[':path'] !== DO_GET },
    );
    if (headers[':path'] === DO_GET) {
      stream.write(framed(numbers.schema));
      stream.write(framed(numbers.batch), () => cut(stream));
      return;
    }
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
    const endpoints = [endpoint('only')];
    stream.end(framed(encodeFlightInfo({ schema: EMPTY, endpoints, totalRecords: -1 })));
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  cleanups.push(() => server.close());
  return connect({ url: `grpc://127.0.0.1:${(server.address() as AddressInfo).port}` });
};

describe('a stream that is cut at a message boundary throws, it never ends', () => {
  test.each<[string, (stream: ServerHttp2Stream) => void]>([
    ['ended without trailers', (stream) => stream.end()],
    ['reset', (stream) => stream.close(8)],
    ['reset as if in order', (stream) => stream.close(0)],
    ['its connection destroyed', (stream) => stream.session?.destroy()],
    ['its socket cut', (stream) => stream.session?.socket.destroy()],
  ])('%s', async (_, cut) => {
    const client = await startCutting(cut);
    const error = await failureOf(collect(client, 'SELECT n FROM numbers'));
    expect(error.kind).toBe('connection');
    expect(error.detail.grpcStatus).toBeDefined();
    expect(error.message).toContain(client.server);
  });
});

describe('statuses become kinds', () => {
  test.each([
    ['UNAVAILABLE', 'connection'],
    ['DEADLINE_EXCEEDED', 'connection'],
    ['RESOURCE_EXHAUSTED', 'connection'],
    ['CANCELLED', 'connection'],
    ['INTERNAL', 'connection'],
    ['UNAUTHENTICATED', 'auth'],
    ['PERMISSION_DENIED', 'auth'],
    ['INVALID_ARGUMENT', 'protocol'],
    ['NOT_FOUND', 'protocol'],
    ['UNIMPLEMENTED', 'protocol'],
  ] as const)('%s is %s', async (name, kind) => {
    const { client } = await fake({
      get: (call) => {
        call.write(numbers.schema);
        call.write(numbers.batch);
        call.emit('error', { code: status[name], details: 'as told' });
      },
    });
    const error = await failureOf(collect(client, 'SELECT 1'));
    expect(error).toMatchObject({ kind, detail: { grpcStatus: name } });
  });

  test('a server that repeats our token does not get it into an error', async () => {
    const token = 'tok-repeated-by-server';
    const { client } = await fake(
      {
        info: (reply, call) =>
          reply({
            code: status.PERMISSION_DENIED,
            details: `no: ${String(call.metadata.get('authorization'))}`,
          }),
      },
      { token },
    );
    const error = await failureOf(collect(client, 'SELECT 1'));
    expect(error.message).toContain('no: Bearer [redacted]');
    expect(visible(error)).not.toContain(token);
  });
});

describe('headers', () => {
  test('amp-* go with GetFlightInfo only, the token with both calls', async () => {
    const { client, server } = await fake({ get: (call) => call.end() }, { token: 'abc' });
    const hash = `0x${'1'.repeat(64)}`;
    await collect(client, 'SELECT 1', {
      stream: true,
      resume: [
        { network: 'mainnet', number: 102, hash },
        { network: 'grün', number: 1, hash },
      ],
      headers: { 'x-own': 'yes' },
    });
    const [info, get] = server.headers.map(({ metadata }) => metadata.getMap());
    expect(info).toMatchObject({ authorization: 'Bearer abc', 'amp-stream': 'true', 'x-own': 'yes' });
    expect(JSON.parse(String(info?.['amp-resume']))).toEqual({
      mainnet: { number: 102, hash },
      grün: { number: 1, hash },
    });
    expect(get).toMatchObject({ authorization: 'Bearer abc', 'x-own': 'yes' });
    expect(Object.keys(get ?? {}).filter((name) => name.startsWith('amp-'))).toEqual([]);
  });
});

describe('messages', () => {
  test('metadata alone, before and between batches, ends nothing', async () => {
    const alone = encodeFlightData({ header: EMPTY, metadata: Buffer.from('alone'), body: EMPTY });
    const { client } = await fake({
      get: (call) => {
        for (const message of [numbers.schema, alone, numbers.batch, alone, numbers.batch])
          call.write(message);
        call.end();
      },
    });
    const messages = await collect(client, 'SELECT 1');
    expect(
      messages.map(({ batch, metadata }) => [
        batch?.numRows ?? null,
        metadata && Buffer.from(metadata).toString(),
      ]),
    ).toEqual([
      [null, null],
      [null, 'alone'],
      [3, 'of the batch'],
      [null, 'alone'],
      [3, 'of the batch'],
    ]);
  });

  test('data before any schema is refused', async () => {
    const alone = encodeFlightData({ header: EMPTY, metadata: Buffer.from('alone'), body: EMPTY });
    const { client } = await fake({
      get: (call) => {
        call.write(alone);
        call.end();
      },
    });
    expect((await failureOf(collect(client, 'SELECT 1'))).kind).toBe('protocol');
  });

  test('a message that is not protobuf is a protocol error', async () => {
    const { client } = await fake({
      get: (call) => {
        call.write(Buffer.from('nonsense'));
        call.end();
      },
    });
    expect((await failureOf(collect(client, 'SELECT 1'))).kind).toBe('protocol');
  });

  test('messages far above gRPC’s own 4 MiB come through; above our limit they are refused', async () => {
    const large = numbersMessages(new BigUint64Array(3 * 1024 * 1024));
    const behaviour: FakeBehaviour = {
      get: (call) => {
        call.write(large.schema);
        call.write(large.batch);
        call.end();
      },
    };
    const { client, server } = await fake(behaviour);
    expect(rowsOf(await collect(client, 'SELECT 1'))).toBe(3 * 1024 * 1024);
    const small = connect({ url: server.url, maxMessageBytes: 1024 * 1024 });
    const error = await failureOf(collect(small, 'SELECT 1'));
    expect(error).toMatchObject({ kind: 'connection', detail: { grpcStatus: 'RESOURCE_EXHAUSTED' } });
  });
});

/** Sends the schema and the same batch `batches` times. */
const serve =
  (batches: number): NonNullable<FakeBehaviour['get']> =>
  (call) => {
    call.write(numbers.schema);
    for (let index = 0; index < batches; index += 1) call.write(numbers.batch);
    call.end();
  };

describe('endpoints', () => {
  test('all are read, in order, here or elsewhere', async () => {
    const elsewhere = await fake({ get: serve(4) }, {});
    const asked: string[] = [];
    const { client } = await fake({
      schema: encapsulate(numbers.schemaHeader),
      endpoints: [
        endpoint('first'),
        endpoint('second', 'arrow-flight-reuse-connection://?'),
        endpoint('third', elsewhere.server.url),
        endpoint(
          'fourth',
          'grpc+unix:///tmp/x',
          'grpc://127.0.0.1:1',
          elsewhere.server.url.replace('grpc:', 'grpc+tcp:'),
        ),
      ],
      get: (call, ticket) => {
        asked.push(ticket);
        serve(1)(call, ticket);
      },
    });
    const messages = await collect(client, 'SELECT 1');
    expect(asked).toEqual(['first', 'second']);
    expect(messages.filter(({ batch }) => batch !== null)).toHaveLength(1 + 1 + 4 + 4);
    expect(messages.filter(({ batch }) => batch === null)).toHaveLength(1);
    expect(elsewhere.server.headers).toHaveLength(2);
  });

  test('no endpoint at all is an empty result', async () => {
    const { client } = await fake({ endpoints: [] });
    expect(await collect(client, 'SELECT 1')).toEqual([]);
  });

  test('a location we cannot speak to is named', async () => {
    const { client } = await fake({ endpoints: [endpoint('x', 'grpc+unix:///tmp/socket')] });
    const error = await failureOf(collect(client, 'SELECT 1'));
    expect(error.kind).toBe('protocol');
    expect(error.message).toContain('grpc+unix:///tmp/socket');
  });

  test('credentials do not follow a location off this machine in plaintext', async () => {
    const { client } = await fake(
      { endpoints: [endpoint('x', 'grpc://flight.example.com:1')] },
      { token: 'abc' },
    );
    expect((await failureOf(collect(client, 'SELECT 1'))).kind).toBe('config');
  });

  test('a different schema from another endpoint is refused', async () => {
    const { client } = await fake({
      schema: encapsulate(numbers.schemaHeader),
      endpoints: [endpoint('a')],
      get: (call) => {
        const bent = Buffer.from(numbers.schema);
        bent.write('m', bent.lastIndexOf('n'.charCodeAt(0)));
        call.write(bent);
        call.end();
      },
    });
    expect((await failureOf(collect(client, 'SELECT 1'))).kind).toBe('protocol');
  });
});

describe('back-pressure', () => {
  test('a server far faster than its reader is stopped, and loses nothing', async () => {
    const MEBIBYTE = 1024 * 1024;
    const message_bytes = 4 * MEBIBYTE;
    const messages = 100;
    const large = numbersMessages(new BigUint64Array(message_bytes / 8));
    const window_bytes = 4 * MEBIBYTE;
    let sent = 0;
    const { client } = await fake(
      {
        get: (call) => {
          const next = (): void => {
            sent += 1;
            if (sent <= messages) call.write(large.batch, next);
            else call.end();
          };
          call.write(large.schema, next);
        },
      },
      { flowControlWindowBytes: window_bytes },
    );
    const reader = client.query('SELECT 1');
    await reader.next();
    await reader.next();
    // Nobody reads now: wait for the server to come to a stop.
    let [before, quietSince] = [-1, performance.now()];
    await until(() => {
      if (sent !== before) [before, quietSince] = [sent, performance.now()];
      return performance.now() - quietSince > 400;
    });
    // What the two readings, the held message and the server's own buffers add.
    const slack_messages = 6;
    expect(sent * message_bytes).toBeLessThan(
      READ_AHEAD_BYTES + window_bytes + slack_messages * message_bytes,
    );
    let rest = 0;
    for await (const { batch } of reader) rest += batch === null ? 0 : 1;
    expect(rest).toBe(messages - 1);
  });
});
