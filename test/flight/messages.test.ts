/** Flight's protobuf messages: round trips, unknown fields, and hostile input. */
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  alignBody,
  decapsulate,
  decodeDescriptor,
  decodeFlightData,
  decodeFlightInfo,
  decodeStatementQuery,
  decodeTicket,
  encapsulate,
  encodeFlightData,
  encodeFlightInfo,
  encodeQueryDescriptor,
  encodeTicket,
} from '../../src/flight/messages.ts';
import { encodeFields, fieldsOf } from '../../src/flight/wire.ts';
import { WarehouseError } from '../../src/runtime/errors.ts';

const bytes = fc.uint8Array({ maxLength: 300 });
const same = (left: Uint8Array, right: Uint8Array): void => {
  expect(Buffer.compare(left, right)).toBe(0);
};

/** Either it decodes or it says `protocol`: never another error, never a hang. */
const decodesOrRefuses = (decode: (input: Uint8Array) => unknown, input: Uint8Array): void => {
  try {
    decode(input);
  } catch (error) {
    expect(error).toBeInstanceOf(WarehouseError);
    expect((error as WarehouseError).kind).toBe('protocol');
  }
};

describe('round trips', () => {
  test('a query descriptor holds the SQL', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', maxLength: 500 }), (sql) => {
        const { type, cmd } = decodeDescriptor(encodeQueryDescriptor(sql));
        expect(type).toBe(2);
        expect(decodeStatementQuery(cmd)).toBe(Buffer.from(sql).toString());
      }),
    );
  });

  test('a query descriptor is the bytes that other Flight SQL clients send', () => {
    const type = 'type.googleapis.com/arrow.flight.protocol.sql.CommandStatementQuery';
    const any = `0a${type.length.toString(16)}${Buffer.from(type).toString('hex')}120a0a0853454c4543542031`;
    expect(encodeQueryDescriptor('SELECT 1').toString('hex')).toBe(
      `080212${(any.length / 2).toString(16)}${any}`,
    );
  });

  test('flight data whose body is moved to where Arrow can read it, in the memory of its message', () => {
    fc.assert(
      fc.property(bytes, bytes, bytes, fc.nat(7), (header, metadata, body, askew) => {
        const parts = { header, metadata, body };
        const encoded = encodeFlightData(parts);
        const message = Buffer.from(new ArrayBuffer(encoded.length + askew), askew);
        message.set(encoded);
        const whole = decodeFlightData(message);
        const moved = alignBody(message, whole);
        same(moved.header, header);
        same(moved.metadata, metadata);
        same(moved.body, body);
        if (body.length === 0) return;
        expect(moved.body.buffer).toBe(message.buffer);
        // Only a body with less than a word before it has nowhere to go.
        const before = whole.body.byteOffset - message.byteOffset;
        if (before >= 8) expect(moved.body.byteOffset % 8).toBe(0);
      }),
    );
  });

  test('flight data', () => {
    fc.assert(
      fc.property(bytes, bytes, bytes, (header, metadata, body) => {
        const decoded = decodeFlightData(encodeFlightData({ header, metadata, body }));
        same(decoded.header, header);
        same(decoded.metadata, metadata);
        same(decoded.body, body);
      }),
    );
  });

  test('flight info', () => {
    const endpoint = fc.record({
      ticket: bytes,
      locations: fc.array(fc.string({ maxLength: 40 }), { maxLength: 3 }),
    });
    fc.assert(
      fc.property(
        bytes,
        fc.array(endpoint, { maxLength: 4 }),
        fc.integer({ min: -1 }),
        (schema, endpoints, total) => {
          const decoded = decodeFlightInfo(encodeFlightInfo({ schema, endpoints, totalRecords: total }));
          same(decoded.schema, schema);
          expect(decoded.totalRecords).toBe(total);
          expect(decoded.endpoints.map(({ locations }) => locations)).toEqual(
            endpoints.map(({ locations }) => locations),
          );
          decoded.endpoints.forEach(({ ticket }, index) =>
            same(ticket, endpoints[index]?.ticket ?? new Uint8Array(1)),
          );
        },
      ),
    );
  });

  test('a ticket', () => {
    fc.assert(fc.property(bytes, (ticket) => same(decodeTicket(encodeTicket(ticket)), ticket)));
  });

  test('an encapsulated schema, with and without the continuation marker', () => {
    const message = encapsulate(Uint8Array.of(1, 2, 3, 4));
    same(decapsulate(message) ?? new Uint8Array(0), Uint8Array.of(1, 2, 3, 4));
    same(decapsulate(message.subarray(4)) ?? new Uint8Array(0), Uint8Array.of(1, 2, 3, 4));
    expect(decapsulate(new Uint8Array(0))).toBeNull();
    expect(() => decapsulate(message.subarray(0, 9))).toThrow(WarehouseError);
  });
});

describe('decoding', () => {
  test('flight data comes as views into the message, without a copy', () => {
    const message = encodeFlightData({
      header: Uint8Array.of(1),
      metadata: Uint8Array.of(2),
      body: new Uint8Array(64),
    });
    const { header, metadata, body } = decodeFlightData(message);
    for (const part of [header, metadata, body]) expect(part.buffer).toBe(message.buffer);
  });

  test('unknown fields of every wire type are skipped', () => {
    const unknown = Buffer.from([
      0x38, 0x96, 0x01, 0x41, 1, 2, 3, 4, 5, 6, 7, 8, 0x4d, 1, 2, 3, 4, 0x52, 1, 9,
    ]);
    const message = Buffer.concat([
      unknown,
      encodeFlightData({ header: Uint8Array.of(7), metadata: new Uint8Array(0), body: new Uint8Array(0) }),
    ]);
    same(decodeFlightData(message).header, Uint8Array.of(7));
  });

  test('a 64-bit number keeps all its bits', () => {
    const [field] = [...fieldsOf(Buffer.from('08ffffffffffffffffff01', 'hex'))];
    expect(field).toEqual({ number: 1, kind: 'varint', value: 0xffff_ffff_ffff_ffffn });
  });

  test('lengths and numbers beyond 32 bits are written right', () => {
    const [field] = [...fieldsOf(encodeFields([[4, Number.MAX_SAFE_INTEGER]]))];
    expect(field).toEqual({ number: 4, kind: 'varint', value: BigInt(Number.MAX_SAFE_INTEGER) });
  });

  test('raw SQL is no command', () => {
    expect(() => decodeStatementQuery(Buffer.from('SELECT * FROM t'))).toThrow(WarehouseError);
  });

  test.each([
    ['a number that never ends', 'ffffffffffffffffffffff'],
    ['a field longer than the message', '0a05aa'],
    ['a field longer than any message', '0affffffffff7f'],
    ['an unknown wire type', '0b'],
    ['field number 0', '0201'],
    ['a truncated fixed word', '0d0000'],
  ])('refuses %s', (_, hex) => {
    expect(() => decodeFlightData(Buffer.from(hex, 'hex'))).toThrow(WarehouseError);
  });

  test('survives any bytes, and any truncation of a good message', () => {
    const good = encodeFlightInfo({
      schema: encapsulate(Uint8Array.of(1, 2)),
      endpoints: [{ ticket: Uint8Array.of(9), locations: ['grpc://a:1'] }],
      totalRecords: 12,
    });
    for (let length = 0; length < good.length; length += 1)
      decodesOrRefuses(decodeFlightInfo, good.subarray(0, length));
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (input) => {
        for (const decode of [
          decodeFlightInfo,
          decodeFlightData,
          decodeDescriptor,
          decodeTicket,
          decapsulate,
        ]) {
          decodesOrRefuses(decode, input);
        }
      }),
      { numRuns: 2000 },
    );
  });
});
