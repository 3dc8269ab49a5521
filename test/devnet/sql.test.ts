/** The devnet's SQL: columns, block filters, nesting, and clear words for the rest. */
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createChain } from '../../src/devnet/chain.ts';
import { ALL, complement, intersect, unite } from '../../src/devnet/intervals.ts';
import type { Intervals } from '../../src/devnet/intervals.ts';
import { parseQuery } from '../../src/devnet/sql.ts';
import type { Query } from '../../src/devnet/sql.ts';

const { tables } = createChain();
const parse = (sql: string): Query => parseQuery(sql, tables);
const names = (sql: string): readonly string[] => parse(sql).columns.map(({ name }) => name);
const blocks = (condition: string): Intervals => parse(`SELECT * FROM transfers WHERE ${condition}`).blocks;

const has = (intervals: Intervals, block: number): boolean =>
  intervals.some(({ from, to }) => block >= from && block <= to);

describe('columns', () => {
  const all = ['block_num', 'timestamp', 'log_index', 'tx_hash', 'token', 'from', 'to', 'value'];

  test('* leaves out _block_num, which has to be selected', () => {
    expect(names('SELECT * FROM transfers')).toEqual(all);
    expect(names('select *, _block_num from transfers')).toEqual([...all, '_block_num']);
    expect(names('SELECT t._block_num, t.* FROM "my/data".transfers AS t')).toEqual(['_block_num', ...all]);
    expect(names('SELECT * FROM (SELECT _block_num, value FROM transfers) q')).toEqual([
      '_block_num',
      'value',
    ]);
  });

  test('lists, aliases and quoted names', () => {
    const { columns } = parse('SELECT "from" AS sender, t."to" FROM transfers t');
    expect(columns).toEqual([
      { source: 'from', name: 'sender' },
      { source: 'to', name: 'to' },
    ]);
    const nested = parse('SELECT a AS b FROM (SELECT value AS a FROM transfers) AS q');
    expect(nested.columns).toEqual([{ source: 'value', name: 'b' }]);
  });
});

describe('filters', () => {
  test.each<[string, Intervals]>([
    ['block_num >= 10 AND block_num < 20', [{ from: 10, to: 19 }]],
    ['_block_num > 10 AND _block_num <= 20', [{ from: 11, to: 20 }]],
    ['block_num BETWEEN 3 AND 5', [{ from: 3, to: 5 }]],
    [
      'block_num NOT BETWEEN 3 AND 5',
      [
        { from: 0, to: 2 },
        { from: 6, to: Infinity },
      ],
    ],
    ['block_num = 7', [{ from: 7, to: 7 }]],
    ['7 < block_num', [{ from: 8, to: Infinity }]],
    [
      'block_num < 3 OR block_num >= 8',
      [
        { from: 0, to: 2 },
        { from: 8, to: Infinity },
      ],
    ],
    ['NOT (block_num < 3 OR block_num >= 8)', [{ from: 3, to: 7 }]],
    ['block_num < 0', []],
    [
      '(block_num = 1 OR block_num = 2 OR block_num = 9) AND block_num <> 2',
      [
        { from: 1, to: 1 },
        { from: 9, to: 9 },
      ],
    ],
  ])('%s', (condition, expected) => {
    expect(blocks(condition)).toEqual(expected);
  });

  test('a wrapped query filters inside and outside', () => {
    const inner = 'SELECT *, _block_num\nFROM transfers\nWHERE block_num < 10 OR block_num > 90 -- a comment';
    const wrapped = `WITH strata_partition AS (SELECT * FROM (${inner}\n) AS q WHERE block_num >= 5 AND block_num < 95) SELECT * FROM strata_partition`;
    expect(parse(wrapped).blocks).toEqual([
      { from: 5, to: 9 },
      { from: 91, to: 94 },
    ]);
    expect(names(wrapped)).toContain('_block_num');
  });

  test('sets of blocks obey the laws of sets', () => {
    const set = fc
      .array(fc.tuple(fc.nat(40), fc.nat(6)), { maxLength: 5 })
      .map((pairs) =>
        pairs.reduce<Intervals>((sum, [from, length]) => unite(sum, [{ from, to: from + length }]), []),
      );
    fc.assert(
      fc.property(set, set, fc.nat(60), (left, right, block) => {
        expect(has(unite(left, right), block)).toBe(has(left, block) || has(right, block));
        expect(has(intersect(left, right), block)).toBe(has(left, block) && has(right, block));
        expect(has(complement(left), block)).toBe(!has(left, block));
        expect(complement(complement(left))).toEqual(left);
        expect(intersect(left, ALL)).toEqual(left);
      }),
    );
  });
});

describe('streams', () => {
  test('SETTINGS stream = true at the end, with or without a semicolon', () => {
    expect(parse('SELECT * FROM logs SETTINGS stream = true').stream).toBe(true);
    expect(parse('SELECT * FROM logs SETTINGS stream = false;').stream).toBe(false);
    expect(parse('SELECT * FROM logs;').stream).toBeNull();
  });

  test('what a stream may not have is noted', () => {
    expect(parse('SELECT * FROM logs ORDER BY block_num, log_index LIMIT 3')).toMatchObject({
      limit: 3,
      batchOnly: ['ORDER BY', 'LIMIT'],
    });
    expect(parse('SELECT * FROM (SELECT * FROM logs LIMIT 5) q LIMIT 9')).toMatchObject({ limit: 5 });
  });
});

describe('refusals say what is wrong', () => {
  test.each([
    ['SELECT * FROM nowhere', 'no table nowhere; there are transfers, blocks, logs'],
    ['SELECT nope FROM logs', 'no column nope'],
    ['SELECT * FROM logs WHERE nope = 1', 'no column nope'],
    ['SELECT * FROM logs WHERE log_index = 1', 'filters by block number only'],
    ['SELECT * FROM (SELECT value FROM transfers) q WHERE block_num > 1', 'no column block_num'],
    ['SELECT count(*) FROM logs', 'Expected FROM'],
    ['SELECT DISTINCT token FROM transfers', 'DISTINCT'],
    ['SELECT * FROM logs GROUP BY address', 'does not understand the query from group'],
    ['SELECT * FROM logs UNION SELECT * FROM logs', 'does not understand the query from union'],
    ['SELECT * FROM logs ORDER BY block_num DESC', 'DESC'],
    ['SELECT * FROM (SELECT * FROM logs LIMIT 5) q WHERE block_num > 1', 'behind a LIMIT'],
    ['DELETE FROM logs', 'Expected SELECT'],
    ['SELECT * FROM logs WHERE block_num > 99999999999999999999', 'block number'],
    ["SELECT * FROM logs WHERE note = 'x'", 'cannot be read'],
    ['SELECT * FROM', 'Expected a table'],
    ['', 'Expected SELECT'],
    [`SELECT * FROM ${'(SELECT * FROM '.repeat(40)}logs`, 'nests deeper'],
  ])('%s', (sql, said) => {
    expect(() => parse(sql)).toThrow(said);
  });
});
