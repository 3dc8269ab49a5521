/** The protobuf messages of Arrow Flight and Flight SQL that a query needs, to and from bytes. */
import { WarehouseError } from '../runtime/errors.ts';
import { encodeFields, fieldsOf } from './wire.ts';
import type { OutgoingField } from './wire.ts';

/** gRPC paths of the two calls a query makes; the service's other calls are not used. */
export const GET_FLIGHT_INFO = '/arrow.flight.protocol.FlightService/GetFlightInfo';
export const DO_GET = '/arrow.flight.protocol.FlightService/DoGet';

/** The Flight SQL command that runs a query. */
const STATEMENT_QUERY_TYPE = 'type.googleapis.com/arrow.flight.protocol.sql.CommandStatementQuery';

/** `FlightDescriptor.type` for an opaque command. */
const DESCRIPTOR_CMD = 2;

/** What a query is asked by: a command, or a path of names. */
export interface FlightDescriptor {
  /** 1 for a path, 2 for a command. */
  readonly type: number;
  readonly cmd: Uint8Array;
}

/** Where a part of a result can be had. */
export interface FlightEndpoint {
  readonly ticket: Uint8Array;
  /** URIs of equal standing; none means the server that was asked. */
  readonly locations: readonly string[];
}

/** A server's answer to a descriptor: what comes, and where to get it. */
export interface FlightInfo {
  /** The schema as an encapsulated IPC message; empty where the server does not say. */
  readonly schema: Uint8Array;
  readonly endpoints: readonly FlightEndpoint[];
  /** Rows in all, -1 where unknown. */
  readonly totalRecords: number;
}

/** One message of DoGet: an Arrow message, metadata, or both. */
export interface FlightData {
  /** The flatbuffer Message; empty in a message that carries metadata only. */
  readonly header: Uint8Array;
  readonly metadata: Uint8Array;
  readonly body: Uint8Array;
}

const EMPTY: Uint8Array = new Uint8Array(0);

const textOf = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('utf8');

/** The first `bytes` field with this number, empty when absent: proto3's default. */
const bytesField = (message: Uint8Array, wanted: number): Uint8Array => {
  let found = EMPTY;
  for (const field of fieldsOf(message)) {
    if (field.number === wanted && field.kind === 'bytes') found = field.value;
  }
  return found;
};

/** `Any{CommandStatementQuery{query}}` in a CMD descriptor: a Flight SQL query. */
export const encodeQueryDescriptor = (sql: string): Buffer =>
  encodeFields([
    [1, DESCRIPTOR_CMD],
    [
      2,
      encodeFields([
        [1, STATEMENT_QUERY_TYPE],
        [2, encodeFields([[1, sql]])],
      ]),
    ],
  ]);

/** @throws WarehouseError `protocol` for anything that is not protobuf. */
export const decodeDescriptor = (message: Uint8Array): FlightDescriptor => {
  let type = 0;
  for (const field of fieldsOf(message)) {
    if (field.number === 1 && field.kind === 'varint') type = Number(field.value);
  }
  return { type, cmd: bytesField(message, 2) };
};

/**
 * The SQL inside a descriptor's command, null when the command is no `CommandStatementQuery`.
 *
 * @throws WarehouseError `protocol` for a command that is not even protobuf, such as raw SQL text.
 */
export const decodeStatementQuery = (cmd: Uint8Array): string | null =>
  textOf(bytesField(cmd, 1)) === STATEMENT_QUERY_TYPE ? textOf(bytesField(bytesField(cmd, 2), 1)) : null;

/** A `Ticket` message around these opaque bytes. */
export const encodeTicket = (ticket: Uint8Array): Buffer => encodeFields([[1, ticket]]);

/** The opaque bytes of a `Ticket` message. */
export const decodeTicket = (message: Uint8Array): Uint8Array => bytesField(message, 1);

const encodeEndpoint = ({ ticket, locations }: FlightEndpoint): Buffer =>
  encodeFields([
    [1, encodeTicket(ticket)],
    ...locations.map((uri): OutgoingField => [2, encodeFields([[1, uri]])]),
  ]);

const decodeEndpoint = (message: Uint8Array): FlightEndpoint => {
  const locations: string[] = [];
  for (const field of fieldsOf(message)) {
    if (field.number === 2 && field.kind === 'bytes') locations.push(textOf(bytesField(field.value, 1)));
  }
  return { ticket: decodeTicket(bytesField(message, 1)), locations };
};

/** A `FlightInfo` message; an unknown total (-1) is left out, as are empty parts. */
export const encodeFlightInfo = ({ schema, endpoints, totalRecords }: FlightInfo): Buffer =>
  encodeFields([
    ...(schema.length === 0 ? [] : [[1, schema] as const]),
    ...endpoints.map((endpoint): OutgoingField => [3, encodeEndpoint(endpoint)]),
    ...(totalRecords < 0 ? [] : [[4, totalRecords] as const]),
  ]);

/** @throws WarehouseError `protocol` when truncated or not protobuf. */
export const decodeFlightInfo = (message: Uint8Array): FlightInfo => {
  const endpoints: FlightEndpoint[] = [];
  let totalRecords = -1;
  for (const field of fieldsOf(message)) {
    if (field.number === 3 && field.kind === 'bytes') endpoints.push(decodeEndpoint(field.value));
    if (field.number === 4 && field.kind === 'varint') totalRecords = Number(BigInt.asIntN(64, field.value));
  }
  return { schema: bytesField(message, 1), endpoints, totalRecords };
};

/** One DoGet message as bytes, ready to be sent (and to be kept: a server may encode ahead). */
export const encodeFlightData = ({ header, metadata, body }: FlightData): Buffer =>
  encodeFields([
    ...(header.length === 0 ? [] : [[2, header] as const]),
    ...(metadata.length === 0 ? [] : [[3, metadata] as const]),
    ...(body.length === 0 ? [] : [[1000, body] as const]),
  ]);

/**
 * The parts of one DoGet message, as views into `message`.
 *
 * @throws WarehouseError `protocol` when truncated or not protobuf.
 */
export const decodeFlightData = (message: Uint8Array): FlightData => {
  let [header, metadata, body] = [EMPTY, EMPTY, EMPTY];
  for (const field of fieldsOf(message)) {
    if (field.kind !== 'bytes') continue;
    if (field.number === 2) header = field.value;
    else if (field.number === 3) metadata = field.value;
    else if (field.number === 1000) body = field.value;
  }
  return { header, metadata, body };
};

/** Arrow's buffers begin at multiples of this many bytes, and so must the body they lie in. */
const ALIGNMENT_BYTES = 8;

/**
 * Moves a body that lies askew in its message to the boundary before it, so that Arrow reads it where it is: protobuf aligns
 * nothing, and a copy of every body is as much again to allocate and to collect. What lay there (the field's own head, at most
 * the end of a small part) is kept as a copy.
 *
 * @param message the bytes that `data` was decoded from; nobody else may hold them
 */
export const alignBody = (message: Uint8Array, data: FlightData): FlightData => {
  const { body } = data;
  const shift = body.byteOffset % ALIGNMENT_BYTES;
  const start = body.byteOffset - message.byteOffset;
  if (body.length === 0 || shift === 0 || start < shift) return data;
  const kept = (part: Uint8Array): Uint8Array => {
    const end = part.byteOffset - message.byteOffset + part.length;
    return end > start - shift && end <= start ? new Uint8Array(part) : part;
  };
  const aligned = { header: kept(data.header), metadata: kept(data.metadata) };
  message.copyWithin(start - shift, start, start + body.length);
  return { ...aligned, body: message.subarray(start - shift, start - shift + body.length) };
};

const CONTINUATION = 0xffffffff;
/** Continuation marker and length before an encapsulated IPC message. */
const PREFIX_BYTES = 8;

/** Wraps a flatbuffer Message as the encapsulated IPC message that `FlightInfo.schema` holds. */
export const encapsulate = (header: Uint8Array): Buffer => {
  const target = Buffer.alloc(PREFIX_BYTES + header.length);
  target.writeUInt32LE(CONTINUATION, 0);
  target.writeUInt32LE(header.length, 4);
  target.set(header, PREFIX_BYTES);
  return target;
};

/**
 * The flatbuffer Message inside an encapsulated IPC message, with or without the continuation marker that
 * writers before Arrow 0.15 left out; null for an empty one.
 *
 * @throws WarehouseError `protocol` when its length is impossible.
 */
export const decapsulate = (message: Uint8Array): Uint8Array | null => {
  if (message.length === 0) return null;
  const view = Buffer.from(message.buffer, message.byteOffset, message.length);
  const start = view.length >= PREFIX_BYTES && view.readUInt32LE(0) === CONTINUATION ? PREFIX_BYTES : 4;
  const length = view.length >= start ? view.readUInt32LE(start - 4) : -1;
  if (length > 0 && start + length <= view.length) return view.subarray(start, start + length);
  throw new WarehouseError('protocol', 'The server sent a schema that is no Arrow IPC message.', {
    remedy: 'Check that the address is that of an Arrow Flight server.',
  });
};
