/** The CSV parser: what is written by RFC 4180 is read back however it is cut; what is no CSV is refused with its line. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createCsvParser, FIELD_CHARACTERS_MAX, FIELDS_MAX } from '../../src/warehouse/labels/csv.ts';
import type { CsvRecord } from '../../src/warehouse/labels/csv.ts';
import { WarehouseError } from '../../src/runtime/errors.ts';
import { propertyOptions } from '../seed.ts';

const parse = (...pieces: readonly string[]): CsvRecord[] => {
  const parser = createCsvParser();
  return [...pieces.flatMap((piece) => parser.push(piece)), ...parser.end()];
};

const fieldsOf = (...pieces: readonly string[]): (readonly (string | null)[])[] =>
  parse(...pieces).map(({ fields }) => fields);

const failureOf = (...pieces: readonly string[]): WarehouseError => {
  try {
    parse(...pieces);
  } catch (thrown) {
    if (thrown instanceof WarehouseError) return thrown;
    throw thrown;
  }
  throw new Error('this CSV was taken');
};

/** A field as RFC 4180 has it written. */
const written = (field: string | null, quoteAll: boolean): string => {
  if (field === null) return '';
  return quoteAll || field === '' || /[",\r\n]/.test(field) ? `"${field.replaceAll('"', '""')}"` : field;
};

const text = fc.string({ unit: fc.constantFrom('a', '"', ',', '\n', '\r', '\r\n', 'ß', '😀', ' ', '0') });
const record = fc.array(fc.option(text), { minLength: 2, maxLength: 5 });

describe('what was written', () => {
  test('is read back, whatever ends its lines and wherever it is cut', () => {
    fc.assert(
      fc.property(
        fc.array(record, { maxLength: 8 }),
        fc.constantFrom('\n', '\r\n', '\r'),
        fc.boolean(),
        fc.boolean(),
        fc.array(fc.nat(200), { maxLength: 12 }),
        (records, end, quoteAll, ends, cuts) => {
          const lines = records.map((fields) => fields.map((field) => written(field, quoteAll)).join(','));
          const file = lines.join(end) + (ends && lines.length > 0 ? end : '');
          const places = [
            0,
            ...cuts.filter((cut) => cut < file.length).toSorted((a, b) => a - b),
            file.length,
          ];
          const pieces = places.slice(1).map((place, index) => file.slice(places[index], place));
          expect(fieldsOf(...pieces)).toEqual(records);
          expect(fieldsOf(...file.split(''))).toEqual(records);
        },
      ),
      propertyOptions(300),
    );
  });

  test('is told with the line it begins on', () => {
    expect(parse('a,b\n"x\ny",1\n\n2,3\r\n4,5\r6,7').map(({ line }) => line)).toEqual([1, 2, 5, 6, 7]);
  });

  test('tells an empty text from nothing, and a blank line from a row', () => {
    expect(fieldsOf('"",\n\n\r\n,""\n')).toEqual([
      ['', null],
      [null, ''],
    ]);
    expect(fieldsOf('')).toEqual([]);
    expect(fieldsOf('\n\n')).toEqual([]);
    expect(fieldsOf('a,')).toEqual([['a', null]]);
  });
});

describe('what is no CSV', () => {
  test.each([
    ['a quote inside a field', 'a,b\nc"d,e', 2, /quote stands inside/],
    ['text behind a quote', 'a\n\n"b"c', 3, /behind the closing quote/],
    ['a quote never closed', 'a\n"b\nc\nd', 2, /never closed/],
    ['a field without end', `a\n"${'x'.repeat(FIELD_CHARACTERS_MAX + 1)}`, 2, /longer than/],
    ['a row without end', 'a\n' + `${'x'.repeat(FIELD_CHARACTERS_MAX)},`.repeat(17), 2, /longer than/],
    ['too many fields', ','.repeat(FIELDS_MAX), 1, /more than 400 fields/],
  ])('%s is refused with its line', (_what, file, line, says) => {
    const error = failureOf(file);
    expect(error.message).toMatch(says);
    expect(error.kind).toBe('data');
    expect(error.detail).toMatchObject({ line, remedy: expect.any(String) as string });
  });
});
