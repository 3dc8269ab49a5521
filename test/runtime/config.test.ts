/** The policy file: every fault at once, each with its place, and the word that was probably meant. */
import { describe, expect, test } from 'vitest';
import { parseConfig } from '../../src/runtime/config.ts';
import { WarehouseError } from '../../src/runtime/errors.ts';

/** The faults of a file, in the order they are told. */
const faultsOf = (text: string, environment: NodeJS.ProcessEnv = {}): string[] => {
  try {
    parseConfig(text, environment);
    return [];
  } catch (thrown) {
    expect(thrown).toBeInstanceOf(WarehouseError);
    expect(thrown).toMatchObject({ kind: 'config', detail: { remedy: expect.any(String) as string } });
    return (thrown as WarehouseError).message.split('\n  - ').slice(1);
  }
};

const STREAM =
  'servers: { chain: { url: "grpc://127.0.0.1:1" } }\nstreams: { s: { server: chain, load: rows, query: SELECT 1, table: t } }';

test('a sound file has none', () => {
  expect(faultsOf(STREAM)).toEqual([]);
  expect(faultsOf('')).toEqual([]);
});

describe('a file that is not', () => {
  test.each([
    [
      'a section',
      STREAM.replace('servers:', 'server:'),
      ['server: there is no such field; did you mean servers?', /names no entry/],
    ],
    [
      'a field',
      STREAM.replace('query:', 'qurey:'),
      ['streams.s.query: is missing', 'streams.s.qurey: there is no such field; did you mean query?'],
    ],
    [
      'a field of another kind of load',
      STREAM.replace('table: t', 'table: t, rules: []'),
      [/^streams\.s\.rules: there is no such field$/],
    ],
    [
      'a field deep down',
      'servers: { a: { url: "grpc://a:1", tls: { cs: x } } }',
      ['servers.a.tls.cs: there is no such field; did you mean ca?'],
    ],
    [
      'a field like none',
      'retry: { attempts: 3 }',
      ['retry.attempts: there is no such field; there are tries, delay_ms, factor, delay_max_ms, jitter'],
    ],
    [
      'a kind of load',
      STREAM.replace('load: rows', 'load: row'),
      ['streams.s.load: must be one of transfers, snapshots, rows, not "row"; did you mean rows?'],
    ],
    [
      'no kind of load',
      STREAM.replace('load: rows, ', ''),
      ['streams.s.load: is missing: transfers, snapshots, rows'],
    ],
    ['a choice', 'topology: clusters', ['topology: must be one of single, citus, auto, not "clusters"']],
    [
      'a server',
      STREAM.replace('server: chain', 'server: chian'),
      ['streams.s.server: names no entry of servers: "chian"; did you mean chain?'],
    ],
    ['an address', STREAM.replace('grpc:', 'grcp:'), [/^servers\.chain\.url: must look like grpc:/]],
    [
      'a variable',
      'database: { url: "${WAREHOUSE}" }',
      ['database.url: environment variable WAREHOUSE is not set'],
    ],
    ['no YAML', 'streams: [', [/line 1/]],
  ] as const)('is told what is wrong with %s', (_what, text, faults) => {
    const told = faultsOf(text);
    expect(told).toHaveLength(faults.length);
    for (const [at, fault] of faults.entries())
      if (typeof fault === 'string') expect(told[at]).toBe(fault);
      else expect(told[at]).toMatch(fault);
  });

  test('never shows a value that may be secret', () => {
    const told = faultsOf('servers: { a: { url: "grpc://me:s3cret@a:1", token: [s3cret], tls: s3cret } }');
    expect(told.length).toBeGreaterThan(2);
    expect(told.join()).not.toContain('s3cret');
  });
});
