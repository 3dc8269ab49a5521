/** A Flight server that does what a test tells it, good or bad. */
import { Server, ServerCredentials } from '@grpc/grpc-js';
import type { Metadata, ServerUnaryCall, ServerWritableStream, sendUnaryData } from '@grpc/grpc-js';
import { Field, RecordBatch, RecordBatchStreamWriter, Schema, Struct, Uint64, makeData } from 'apache-arrow';
import {
  DO_GET,
  GET_FLIGHT_INFO,
  decodeTicket,
  encodeFlightData,
  encodeFlightInfo,
} from '../../src/flight/messages.ts';
import type { FlightEndpoint } from '../../src/flight/messages.ts';

type GetCall = ServerWritableStream<Buffer, Buffer>;

/** What the server does. */
export interface FakeBehaviour {
  readonly endpoints?: readonly FlightEndpoint[];
  readonly schema?: Uint8Array;
  /** Instead of answering GetFlightInfo. */
  readonly info?: (reply: sendUnaryData<Buffer>, call: ServerUnaryCall<Buffer, Buffer>) => void;
  readonly get?: (call: GetCall, ticket: string) => void;
  readonly credentials?: ServerCredentials;
}

/** A running fake. */
export interface FakeServer {
  readonly url: string;
  readonly port: number;
  /** Headers of each call, in order: `path name=value`. */
  readonly headers: readonly { readonly path: string; readonly metadata: Metadata }[];
  readonly stop: () => void;
}

const identity = (bytes: Buffer): Buffer => bytes;

const method = (path: string, responseStream: boolean) => ({
  path,
  requestStream: false,
  responseStream,
  requestSerialize: identity,
  requestDeserialize: identity,
  responseSerialize: identity,
  responseDeserialize: identity,
});

/** One endpoint whose ticket is this text, here unless locations are given. */
export const endpoint = (ticket: string, ...locations: readonly string[]): FlightEndpoint => ({
  ticket: Buffer.from(ticket),
  locations,
});

export const startFake = async (behaviour: FakeBehaviour): Promise<FakeServer> => {
  const headers: { path: string; metadata: Metadata }[] = [];
  const server = new Server();
  server.addService(
    { info: method(GET_FLIGHT_INFO, false), get: method(DO_GET, true) },
    {
      info: (call: ServerUnaryCall<Buffer, Buffer>, reply: sendUnaryData<Buffer>) => {
        headers.push({ path: GET_FLIGHT_INFO, metadata: call.metadata });
        if (behaviour.info !== undefined) behaviour.info(reply, call);
        else {
          const endpoints = behaviour.endpoints ?? [endpoint('only')];
          reply(
            null,
            encodeFlightInfo({ schema: behaviour.schema ?? new Uint8Array(0), endpoints, totalRecords: -1 }),
          );
        }
      },
      get: (call: GetCall) => {
        headers.push({ path: DO_GET, metadata: call.metadata });
        behaviour.get?.(call, Buffer.from(decodeTicket(call.request)).toString());
      },
    },
  );
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync(
      '127.0.0.1:0',
      behaviour.credentials ?? ServerCredentials.createInsecure(),
      (error, bound) => (error === null ? resolve(bound) : reject(error)),
    );
  });
  return { url: `grpc://127.0.0.1:${port}`, port, headers, stop: () => server.forceShutdown() };
};

const NONE = new Uint8Array(0);

/** Schema message, one batch with these numbers in a column `n`, as raw Flight messages. */
export const numbersMessages = (
  values: BigUint64Array,
  metadata: Uint8Array = NONE,
): { readonly schema: Buffer; readonly schemaHeader: Uint8Array; readonly batch: Buffer } => {
  const schema = new Schema([new Field('n', new Uint64(), false)]);
  const child = makeData({ type: new Uint64(), length: values.length, nullCount: 0, data: values });
  const batch = new RecordBatch(
    schema,
    makeData({ type: new Struct(schema.fields), length: values.length, nullCount: 0, children: [child] }),
  );
  const stream = Buffer.from(new RecordBatchStreamWriter().writeAll([batch]).toUint8Array(true));
  const schemaEnd = 8 + stream.readUInt32LE(4);
  const batchEnd = schemaEnd + 8 + stream.readUInt32LE(schemaEnd + 4);
  const schemaHeader = stream.subarray(8, schemaEnd);
  return {
    schemaHeader,
    schema: encodeFlightData({ header: schemaHeader, metadata: NONE, body: NONE }),
    batch: encodeFlightData({
      header: stream.subarray(schemaEnd + 8, batchEnd),
      metadata,
      body: stream.subarray(batchEnd, -8),
    }),
  };
};
