/** How PostgreSQL values become JavaScript values: exact, or an error; never silently rounded or shifted. */
import { types } from 'pg';
import type { CustomTypesConfig } from 'pg';

import { WarehouseError } from '../runtime/errors.ts';

/** From the text PostgreSQL sends to a value. */
export type Parser = (text: string) => unknown;

const parseInt8 = (text: string): number => {
  const value = Number(text);
  if (Number.isSafeInteger(value)) return value;
  throw new WarehouseError('data', `The bigint ${text} does not fit a JavaScript number exactly.`, {
    value: text,
    remedy: 'Select it as text: column::text.',
  });
};

const asText: Parser = (text) => text;

/** `pg` parses `{a,NULL,"b c"}` for the text arrays; the others are made of it. */
const parseTextArray = (types.getTypeParser as (oid: number) => unknown)(1009) as (
  text: string,
) => (string | null)[];

const arrayOf =
  (parse: Parser): Parser =>
  (text) =>
    parseTextArray(text).map((item) => (item === null ? null : parse(item)));

/**
 * Where we differ from `pg`: by type id.
 *
 * - `int8` is a number, and an error beyond 2^53 (`pg`: a string)
 * - `numeric[]` keeps its strings (`pg`: doubles)
 * - `date`, `timestamp` without zone stay text (`pg`: a Date in the machine's time zone)
 *
 * As in `pg`: `numeric` is a string, `timestamptz` a Date (milliseconds: select `::text` where microseconds
 * matter), `bytea` a Buffer, `json` parsed.
 */
const PARSERS: Readonly<Record<number, Parser>> = {
  20: parseInt8,
  1016: arrayOf(parseInt8),
  1231: arrayOf(asText),
  1082: asText,
  1182: arrayOf(asText),
  1114: asText,
  1115: arrayOf(asText),
};

/** The parser of a type's text format, by type id; what is not ours is as in `pg`. */
export const parserOf = (oid: number): Parser =>
  PARSERS[oid] ?? (types.getTypeParser as (oid: number) => Parser)(oid);

/** Parsers by type id as `pg` takes them; we never ask for the binary format. */
export const asTypes = (find: (oid: number) => Parser): CustomTypesConfig => ({
  getTypeParser: find as CustomTypesConfig['getTypeParser'],
});

/** The parsers of every pool of this project. */
export const VALUE_TYPES = asTypes(parserOf);
