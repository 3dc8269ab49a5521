/** Errors and URLs of the database floor, as values: no server needed. */
import { DatabaseError } from 'pg';
import { describe, expect, it } from 'vitest';

import { parseDatabaseUrl, redactUrl, refusePlaintext } from '../../src/db/connection-url.ts';
import { asWarehouseError, sqlstateOf } from '../../src/db/errors.ts';
import { WarehouseError } from '../../src/runtime/errors.ts';

const serverError = (code: string, fields: object = {}): DatabaseError =>
  Object.assign(new DatabaseError('refused', 7, 'error'), { severity: 'ERROR', code, ...fields });

const socketError = (code: string): Error => Object.assign(new Error(`connect ${code}`), { code });

describe('asWarehouseError', () => {
  it.each([
    ['28P01', 'auth'],
    ['28999', 'auth'],
    ['3D000', 'config'],
    ['08006', 'connection'],
    ['57P01', 'connection'],
    ['22003', 'data'],
    ['23505', 'data'],
    ['40001', 'conflict'],
    ['55P03', 'conflict'],
    ['57014', 'cancelled'],
    ['42P01', 'database'],
  ])('makes of SQLSTATE %s a %s error', (code, kind) => {
    const error = asWarehouseError(serverError(code));
    expect(error).toMatchObject({ kind, detail: { sqlstate: code } });
    expect(sqlstateOf(error)).toBe(code);
  });

  it('says what to do about a full disk', () => {
    expect(asWarehouseError(serverError('53100')).detail.remedy).toContain('Free space');
  });

  it('finds the row and the column of a COPY', () => {
    const where = 'COPY balances, line 12, column amount: "x"\nPL/pgSQL function f() line 3 at SQL statement';
    expect(asWarehouseError(serverError('22P02', { where })).detail).toMatchObject({
      row: 12,
      column: 'amount',
    });
    expect(asWarehouseError(serverError('23502', { where: 'COPY t, line 7' })).detail).toMatchObject({
      row: 7,
    });
  });

  it('looks into the errors of several addresses', () => {
    const error = asWarehouseError(
      new AggregateError([socketError('ECONNREFUSED'), socketError('ECONNREFUSED')]),
    );
    expect(error).toMatchObject({ kind: 'connection', message: 'connect ECONNREFUSED' });
  });

  it('tells an abort, a certificate and a bug apart', () => {
    expect(asWarehouseError(new DOMException('stop', 'AbortError')).kind).toBe('cancelled');
    expect(asWarehouseError(socketError('SELF_SIGNED_CERT_IN_CHAIN')).detail.remedy).toContain('sslrootcert');
    expect(asWarehouseError(new TypeError('x is not a function')).kind).toBe('internal');
  });

  it('keeps an error of ours and adds where it happened', () => {
    const own = new WarehouseError('data', 'too long', { column: 'symbol' });
    expect(asWarehouseError(own)).toBe(own);
    expect(asWarehouseError(own, { stream: 'erc20' }).detail).toEqual({ stream: 'erc20', column: 'symbol' });
  });
});

describe('a lost connection', () => {
  it.each(['ECONNREFUSED', 'ENOTFOUND', 'ETIMEDOUT', 'ECONNRESET', 'EPIPE'])(
    'has a state of class 08 where only the socket names it: %s',
    (code) => {
      expect(asWarehouseError(socketError(code)).detail.sqlstate).toMatch(/^0800[16]$/);
    },
  );

  it('has none where the certificate is wrong, which no retry mends', () => {
    expect(asWarehouseError(socketError('CERT_HAS_EXPIRED')).detail.sqlstate).toBeUndefined();
  });
});

describe('a database URL', () => {
  it('is printed without its secrets', () => {
    expect(redactUrl('postgres://me:secret@db:5432/x?sslmode=require')).toBe(
      'postgres://me:***@db:5432/x?sslmode=require',
    );
    expect(redactUrl('postgres://db/x?user=me&password=secret')).toBe('postgres://db/x?user=me&password=***');
    expect(redactUrl('host=db password=secret')).toBe('<unreadable database URL>');
  });

  it('that cannot be read is refused without being quoted', () => {
    for (const url of ['', 'secret', 'http://me:secret@db', 'postgres://me:sec/ret@db:x/y']) {
      expect(() => parseDatabaseUrl(url)).toThrow(/^The database URL cannot be read\.$/u);
    }
  });

  it('may leave the machine only over TLS, unless it says otherwise', () => {
    const allowed = [
      'postgres://localhost/x',
      'postgres://127.0.0.1/x',
      'postgres://[::1]/x',
      'postgres:///x?host=/run',
    ];
    const named = ['postgres://db.example/x?sslmode=verify-full', 'postgres://db.example/x?sslmode=disable'];
    for (const url of [...allowed, ...named]) expect(() => refusePlaintext(new URL(url))).not.toThrow();
    const refused = ['postgres://db.example/x', 'postgres://10.0.0.1/x', 'postgres:///x?host=db.example'];
    for (const url of refused) expect(() => refusePlaintext(new URL(url))).toThrow(/would not be encrypted/u);
  });
});
