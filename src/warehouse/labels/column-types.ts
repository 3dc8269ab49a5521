/** Types of label columns: which of them a text fits, and which one a whole column gets. Exact: never a float. */

/** Types a label column may have. */
export type LabelType = (typeof LABEL_TYPES)[number];

/** In the order in which a column takes the first that all of its values fit; `bytea` only where it is asked for. */
export const LABEL_TYPES = ['boolean', 'bigint', 'numeric', 'date', 'timestamptz', 'text', 'bytea'] as const;

/** A set of types: bit n stands for `LABEL_TYPES[n]`. */
export type TypeSet = number;

/** The set of one type. */
const setOf = (type: LabelType): TypeSet => 1 << LABEL_TYPES.indexOf(type);

const BOOLEAN = setOf('boolean');
const BIGINT = setOf('bigint');
const NUMERIC = setOf('numeric');
const DATE = setOf('date');
const TIMESTAMPTZ = setOf('timestamptz');
const TEXT = setOf('text');
const BYTEA = setOf('bytea');

/** What a column without any value yet may become. */
export const ALL_TYPES: TypeSet = (1 << LABEL_TYPES.length) - 1;

// A leading zero or plus would be lost: such numbers (postcodes, telephone numbers) are text.
const INTEGER = /^(?:0|-?[1-9]\d{0,18})$/;
// `12e4` may be a piece of a hash; `1.5e-05` and `1e+20` are what programs write.
const DECIMAL = /^-?(?:0|[1-9]\d{0,999})(?:\.\d{1,999})?(?:[eE][+-]\d{1,3})?$/;
const DAY = /^(\d{4})-(\d{2})-(\d{2})/;
const CLOCK =
  /^[T ](?:[01]\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:\.\d{1,6})?)?(?:Z|[+-](?:0\d|1[0-4])(?::?[0-5]\d)?)?$/;
const HEX = /^0x(?:[0-9a-fA-F]{2})*$/;
const DAY_CHARACTERS = 10;
const MAX_INTEGER_DIGITS = 18;
const INT64 = { min: -(2n ** 63n), max: 2n ** 63n - 1n };

const fitsBigint = (text: string): boolean => {
  if (!INTEGER.test(text)) return false;
  if (text.length <= MAX_INTEGER_DIGITS) return true;
  const value = BigInt(text);
  return value >= INT64.min && value <= INT64.max;
};

const startsWithDay = (text: string): boolean => {
  const [, year = '', month = '', day = ''] = DAY.exec(text) ?? [];
  if (year === '' || year === '0000') return false;
  const [y, m, d] = [Number(year), Number(month), Number(day)];
  const leap = y % 4 === 0 && (y % 100 !== 0 || y % 400 === 0);
  const days = [31, leap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][m - 1] ?? 0;
  return d >= 1 && d <= days;
};

const ofNumber = (text: string): TypeSet =>
  (fitsBigint(text) ? BIGINT : 0) | (DECIMAL.test(text) ? NUMERIC : 0);

const ofTime = (text: string): TypeSet => {
  if (!startsWithDay(text)) return 0;
  if (text.length === DAY_CHARACTERS) return DATE | TIMESTAMPTZ;
  return CLOCK.test(text.slice(DAY_CHARACTERS)) ? TIMESTAMPTZ : 0;
};

/**
 * The types a text can be read as without losing anything; always `text` among them. An empty text fits all, for
 * elsewhere than in text it is null. Times without a zone are UTC; more digits than microseconds make a time a text.
 */
export const typesOf = (text: string): TypeSet => {
  if (text === '') return ALL_TYPES;
  const first = text.charCodeAt(0);
  const isDigit = first >= 0x30 && first <= 0x39;
  if (isDigit || first === 0x2d)
    return TEXT | ofNumber(text) | (isDigit ? ofTime(text) | (HEX.test(text) ? BYTEA : 0) : 0);
  return /^(?:true|false)$/i.test(text) ? TEXT | BOOLEAN : TEXT;
};

/** The type of a column all of whose values fit `types`; `text` where it has none. */
export const chooseType = (types: TypeSet): LabelType =>
  types === ALL_TYPES ? 'text' : (LABEL_TYPES.find((type) => (types & setOf(type)) !== 0) ?? 'text');

/** Whether a type is one of a set. */
export const hasType = (types: TypeSet, type: LabelType): boolean => (types & setOf(type)) !== 0;
