/** Types and names of label columns: what a type takes, PostgreSQL takes too and gives back unchanged. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { columnNames } from '../../src/warehouse/labels/column-names.ts';
import {
  ALL_TYPES,
  chooseType,
  hasType,
  LABEL_TYPES,
  typesOf,
} from '../../src/warehouse/labels/column-types.ts';
import { useDatabase } from '../database.ts';
import { propertyOptions } from '../seed.ts';

const database = useDatabase();

const typeOf = (...values: readonly string[]): string =>
  chooseType(values.reduce((types, value) => types & typesOf(value), ALL_TYPES));

describe('a column', () => {
  test.each([
    ['boolean', ['true', 'FALSE', '', 'True']],
    ['bigint', ['0', '-1', '9223372036854775807', '-9223372036854775808']],
    ['numeric', ['1', '9223372036854775808']],
    ['numeric', ['1.50', '-0.000000000000000001', '1.5e-05', '1e+20']],
    ['date', ['2024-02-29', '0001-01-01']],
    ['timestamptz', ['2024-02-29', '2024-02-29T12:00Z', '2024-02-29 12:00:00.123456+05:30']],
    ['text', ['2023-02-29']],
    ['text', ['2024-01-01T00:00:00.1234567Z']],
    ['text', ['2024-01-01T24:00:00Z']],
    ['text', ['007']],
    ['text', ['+49']],
    ['text', ['12e4']],
    ['text', ['1', 'x']],
    ['text', ['true', '1']],
    ['text', ['NaN']],
    ['text', [' 5']],
    ['text', ['', '']],
    ['text', ['0xab']],
    ['text', ['2024-01-01', '5']],
  ])('is %s for %j', (type, values) => {
    expect(typeOf(...values)).toBe(type);
  });

  test('of hex can be asked to be bytes', () => {
    expect(hasType(typesOf('0xAbcd'), 'bytea')).toBe(true);
    expect(hasType(typesOf('0xabc'), 'bytea')).toBe(false);
  });

  test('takes only what PostgreSQL reads as the same value', async () => {
    const digits = fc.string({ unit: fc.constantFrom('0', '1', '2', '5', '9'), maxLength: 22 });
    const number = fc
      .tuple(
        fc.constantFrom('', '-'),
        digits,
        fc.constantFrom('', '.'),
        digits,
        fc.constantFrom('', 'e-3', 'e+5', 'e7'),
      )
      .map((parts) => parts.join(''));
    const day = fc
      .tuple(
        fc.integer({ min: 0, max: 9999 }),
        fc.integer({ min: 0, max: 13 }),
        fc.integer({ min: 0, max: 32 }),
      )
      .map(
        ([y, m, d]) =>
          `${String(y).padStart(4, '0')}-${String(m).padStart(2, '0')}-${String(d).padStart(2, '0')}`,
      );
    const clock = fc.constantFrom(
      '',
      'T00:00',
      ' 23:59:59.999999Z',
      'T24:00Z',
      'T12:60Z',
      'T01:02:03+14:59',
      'T01:02:03-1530',
      'T1:2',
    );
    const value = fc.oneof(
      number,
      fc.tuple(day, clock).map((parts) => parts.join('')),
      fc.constantFrom('true', 'F', 'TRUE', 'NaN', 'now', 'infinity'),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(value, { minLength: 20, maxLength: 40 }), async (values) => {
        for (const type of LABEL_TYPES.filter((name) => name !== 'bytea')) {
          const fitting = values.filter((text) => text !== '' && hasType(typesOf(text), type));
          const { rows } = await database.pool.query<{ before: string; after: string }>(
            `select v as before, v::${type}::text as after from unnest($1::text[]) v`,
            [fitting],
          );
          expect(rows.length).toBe(fitting.length);
          if (type !== 'bigint' && type !== 'date') continue;
          for (const { before, after } of rows) expect(after).toBe(before);
        }
      }),
      propertyOptions(15),
    );
  });
});

describe('names', () => {
  test('are plain SQL, each once', () => {
    const header = [
      'Name',
      'name',
      'E-Mail',
      'order',
      '',
      '24h €',
      'Größe',
      'ctid',
      '日本',
      'Name 2',
      'name',
    ];
    expect(columnNames(header, new Set(['order', 'account_address']))).toEqual([
      'name',
      'name_2',
      'e_mail',
      'order_',
      'column_5',
      '_24h',
      'gro_e',
      'ctid_2',
      'column_9',
      'name_2_2',
      'name_3',
    ]);
  });

  test('of any header are such', () => {
    fc.assert(
      fc.property(fc.array(fc.string({ unit: 'grapheme', maxLength: 80 }), { maxLength: 12 }), (headers) => {
        const names = columnNames(headers, new Set(['user', 'account_address']));
        expect(new Set(names).size).toBe(headers.length);
        for (const name of names) {
          expect(name).toMatch(/^[a-z_][a-z0-9_]{0,49}$/);
          expect(['user', 'account_address', 'xmin']).not.toContain(name);
        }
      }),
      propertyOptions(200),
    );
  });
});
