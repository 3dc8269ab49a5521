/** Who is let in: names, tokens and cookies, by their pure rules. */
import { describe, expect, test } from 'vitest';
import {
  COOKIE,
  cookieOf,
  hostOf,
  isAdmitted,
  isAllowedHost,
  isLoopback,
  isSession,
  openSession,
  SESSION_SECONDS,
} from '../../src/server/access.ts';

const TOKEN = 'a token of some length';
const NOW = new Date('2026-01-05T00:00:00Z');
const later = (seconds: number): Date => new Date(NOW.getTime() + seconds * 1000);

describe('a Host header', () => {
  test.each([
    ['127.0.0.1:8432', '127.0.0.1'],
    ['[::1]:8432', '::1'],
    ['Status.Example.com', 'status.example.com'],
    ['localhost:1', 'localhost'],
    ['a b', null],
    ['evil.example/?', null],
    ['host:port', null],
    ['', null],
    [undefined, null],
  ])('%s names %s', (header, host) => {
    expect(hostOf(header)).toBe(host);
  });

  test('may be an address, localhost, or a name that was allowed', () => {
    const allowed = ['127.0.0.1:1', '10.0.0.7', '[::1]', 'localhost', 'status.example.com:80'];
    expect(allowed.filter((host) => !isAllowedHost(host, ['status.example.com']))).toEqual([]);
    const foreign = ['evil.example', 'localhost.evil.example', '127.0.0.1.evil.example', '1.2.3', undefined];
    expect(foreign.filter((host) => isAllowedHost(host, ['status.example.com']))).toEqual([]);
  });
});

test('only this machine is this machine', () => {
  expect(['127.0.0.1', '127.8.9.10', '::1', 'localhost'].every(isLoopback)).toBe(true);
  expect(['0.0.0.0', '::', '10.0.0.1', '127.0.0.1.evil.example', ''].some(isLoopback)).toBe(false);
});

describe('a session', () => {
  const cookie = openSession(TOKEN, NOW);

  test('is good for its time, with its token, as it was written', () => {
    expect(isSession(cookie, TOKEN, later(SESSION_SECONDS - 1))).toBe(true);
    expect(isSession(cookie, TOKEN, later(SESSION_SECONDS))).toBe(false);
    expect(isSession(cookie, `${TOKEN}!`, NOW)).toBe(false);
    const [until = '', signature = ''] = cookie.split('.');
    for (const forged of [`${Number(until) + 1}.${signature}`, `${until}.`, until, '', `1e99.${signature}`])
      expect(isSession(forged, TOKEN, NOW), forged).toBe(false);
  });

  test('holds nothing of the token', () => {
    expect(cookie).not.toContain(TOKEN);
    expect(Buffer.from(cookie.split('.')[1] ?? '', 'base64url').toString('latin1')).not.toContain(TOKEN);
  });

  test('is found among other cookies', () => {
    expect(cookieOf(`a=b; ${COOKIE}=${cookie}; c=d`)).toBe(cookie);
    expect(cookieOf(`x${COOKIE}=no`)).toBeNull();
    expect(cookieOf(undefined)).toBeNull();
  });
});

describe('a request', () => {
  const admitted = (authorization?: string, cookie?: string): boolean =>
    isAdmitted({ authorization, cookie }, TOKEN, NOW);

  test('is let in by the token or by a session, and by nothing else', () => {
    expect(admitted(`Bearer ${TOKEN.replaceAll(' ', '')}`)).toBe(false);
    expect(
      isAdmitted({ authorization: 'bearer 0123456789abcdef', cookie: undefined }, '0123456789abcdef', NOW),
    ).toBe(true);
    expect(admitted(undefined, `${COOKIE}=${openSession(TOKEN, NOW)}`)).toBe(true);
    expect(admitted()).toBe(false);
    expect(admitted('Basic abc')).toBe(false);
    expect(admitted('Bearer ', `${COOKIE}=1.2`)).toBe(false);
  });

  test('with a wrong token is not helped by a good session', () => {
    expect(admitted('Bearer wrong', `${COOKIE}=${openSession(TOKEN, NOW)}`)).toBe(false);
  });

  test('needs nothing where there is no token', () => {
    expect(isAdmitted({ authorization: undefined, cookie: undefined }, null, NOW)).toBe(true);
  });
});
