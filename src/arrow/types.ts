/** The type table: which PostgreSQL type each Arrow type becomes, and what else a target column may ask for. */
import type {
  DataType,
  Date_,
  Dictionary,
  Field,
  FixedSizeBinary,
  Float,
  Int,
  Time,
  Timestamp,
} from 'apache-arrow';
import { DateUnit, Precision, Type } from 'apache-arrow';
import { WarehouseError } from '../runtime/errors.ts';

/** Every PostgreSQL type the encoder writes; each name can stand in DDL as it is. */
export type PgType = (typeof PG_TYPES)[number];

const PG_TYPES = [
  'boolean',
  'smallint',
  'integer',
  'bigint',
  'real',
  'double precision',
  'numeric',
  'text',
  'bytea',
  'date',
  'time',
  'timestamp',
  'timestamptz',
  'interval',
  'jsonb',
] as const;

/** What `format_type` and `pg_type.typname` call the same types; varchar takes the bytes of text. */
const OTHER_NAMES: Readonly<Record<string, PgType>> = {
  bool: 'boolean',
  int2: 'smallint',
  int4: 'integer',
  int8: 'bigint',
  float4: 'real',
  float8: 'double precision',
  varchar: 'text',
  'character varying': 'text',
  'time without time zone': 'time',
  'timestamp without time zone': 'timestamp',
  'timestamp with time zone': 'timestamptz',
};

/**
 * The type of an existing column from the name the catalog gives it (`format_type` or `typname`), with or without a
 * modifier such as `(38,0)`; null when the encoder does not write that type.
 */
export const pgTypeNamed = (catalogName: string): PgType | null => {
  const name = catalogName
    .toLowerCase()
    .replace(/\s*\([^)]*\)/, '')
    .trim();
  return PG_TYPES.find((type) => type === name) ?? OTHER_NAMES[name] ?? null;
};

interface Rule {
  /** The type a new column gets. */
  readonly postgres: PgType;
  /** Other types an existing column may have. */
  readonly also: readonly PgType[];
  readonly note: string;
}

const INTEGERS: readonly PgType[] = ['smallint', 'integer', 'bigint', 'numeric'];

const rule = (postgres: PgType, also: readonly PgType[], note = ''): Rule => ({
  postgres,
  also: also.filter((type) => type !== postgres),
  note,
});

const integer = (postgres: PgType, note = 'a narrower target is checked'): Rule =>
  rule(postgres, INTEGERS, note);

const TEXT = rule(
  'text',
  ['numeric', 'bytea', 'jsonb'],
  'to numeric: decimal or 0x; to bytea: 0x hex; \\0 and invalid UTF-8 are data errors',
);
const BINARY = rule('bytea', ['text'], 'to text: 0x hex');
const LIST = rule('jsonb', [], 'integers and decimals exact, binary as 0x hex, NaN and Infinity as strings');

const RULES = {
  Null: rule('text', PG_TYPES, 'always null'),
  Bool: rule('boolean', []),
  Int8: integer('smallint', ''),
  Int16: integer('smallint', ''),
  Int32: integer('integer'),
  Int64: integer('bigint'),
  UInt8: integer('smallint', ''),
  UInt16: integer('integer'),
  UInt32: integer('bigint'),
  UInt64: integer('numeric', 'bigint when the column is one: checked'),
  Float16: rule('real', ['double precision']),
  Float32: rule('real', ['double precision']),
  Float64: rule('double precision', []),
  Decimal: rule('numeric', [], '32 to 256 bits; the dscale is the Arrow scale; exact'),
  Utf8: TEXT,
  LargeUtf8: TEXT,
  Utf8View: TEXT,
  Binary: BINARY,
  LargeBinary: BINARY,
  BinaryView: BINARY,
  FixedSizeBinary: rule('bytea', ['text', 'numeric'], 'to numeric: unsigned big-endian, up to 32 bytes'),
  Date32: rule('date', []),
  Date64: rule('date', [], 'milliseconds floor to the day'),
  Time32: rule('time', []),
  Time64: rule('time', [], 'nanoseconds floor to microseconds'),
  Timestamp: rule(
    'timestamp',
    ['timestamptz'],
    'nanoseconds floor to microseconds, toward −infinity; read as UTC',
  ),
  'Timestamp with zone': rule(
    'timestamptz',
    ['timestamp'],
    'nanoseconds floor to microseconds, toward −infinity',
  ),
  Duration: rule('interval', [], 'nanoseconds floor to microseconds'),
  Interval: rule('interval', [], 'nanoseconds floor to microseconds'),
  List: LIST,
  LargeList: LIST,
  FixedSizeList: LIST,
  Struct: LIST,
  Map: rule('jsonb', [], 'an object; keys become strings'),
} as const satisfies Record<string, Rule>;

/** The name of an Arrow type in the type table; a dictionary is named by its values. */
export type ArrowTypeName = keyof typeof RULES;

const intName = (type: Int): ArrowTypeName => `${type.isSigned ? 'Int' : 'UInt'}${type.bitWidth}`;

const FLOAT_NAMES: Readonly<Record<Precision, ArrowTypeName>> = {
  [Precision.HALF]: 'Float16',
  [Precision.SINGLE]: 'Float32',
  [Precision.DOUBLE]: 'Float64',
};

const PLAIN_NAMES: Readonly<Partial<Record<Type, ArrowTypeName>>> = {
  [Type.Null]: 'Null',
  [Type.Bool]: 'Bool',
  [Type.Decimal]: 'Decimal',
  [Type.Utf8]: 'Utf8',
  [Type.LargeUtf8]: 'LargeUtf8',
  [Type.Utf8View]: 'Utf8View',
  [Type.Binary]: 'Binary',
  [Type.LargeBinary]: 'LargeBinary',
  [Type.BinaryView]: 'BinaryView',
  [Type.FixedSizeBinary]: 'FixedSizeBinary',
  [Type.Duration]: 'Duration',
  [Type.Interval]: 'Interval',
  [Type.List]: 'List',
  [Type.LargeList]: 'LargeList',
  [Type.FixedSizeList]: 'FixedSizeList',
  [Type.Struct]: 'Struct',
  [Type.Map]: 'Map',
};

/** The type's name in the type table, or null for one that is not in it (unions, run-end encoding). */
export const arrowTypeName = (type: DataType): ArrowTypeName | null => {
  switch (type.typeId) {
    case Type.Int:
      return intName(type as Int);
    case Type.Float:
      return FLOAT_NAMES[(type as Float).precision];
    case Type.Date:
      return (type as Date_).unit === DateUnit.DAY ? 'Date32' : 'Date64';
    case Type.Time:
      return (type as Time).bitWidth === 32 ? 'Time32' : 'Time64';
    case Type.Timestamp:
      return (type as Timestamp).timezone ? 'Timestamp with zone' : 'Timestamp';
    case Type.Dictionary:
      return arrowTypeName((type as Dictionary).dictionary);
    default:
      return PLAIN_NAMES[type.typeId] ?? null;
  }
};

/** An Arrow type as people write it: `Decimal[38e+18]`. */
export const typeText = (type: DataType): string => (type as { toString: () => string }).toString();

/** The first type in the tree that cannot be written, or null. */
const unwritable = (type: DataType): DataType | null => {
  if (type.typeId === Type.Dictionary) return unwritable((type as Dictionary).dictionary);
  if (arrowTypeName(type) === null) return type;
  for (const child of type.children ?? []) {
    const found = unwritable(child.type);
    if (found !== null) return found;
  }
  return null;
};

const ruleOf = (field: Field): Rule => {
  const culprit = unwritable(field.type);
  const name = arrowTypeName(field.type);
  if (culprit !== null || name === null)
    throw new WarehouseError(
      'data',
      `column "${field.name}" has the Arrow type ${typeText(culprit ?? field.type)}, which has no PostgreSQL form`,
      { column: field.name, remedy: 'Cast the column to a plain type in the query.' },
    );
  return RULES[name];
};

const MAX_NUMERIC_BYTES = 32;

/**
 * The PostgreSQL type a new column for this field gets.
 *
 * @throws WarehouseError `data` for an Arrow type outside the table
 */
export const defaultPgType = (field: Field): PgType => ruleOf(field).postgres;

/**
 * Checks that the field's values may go into a column of this type.
 *
 * @throws WarehouseError `data` when they may not
 */
export const requireConversion = (field: Field, target: PgType): void => {
  const { postgres, also } = ruleOf(field);
  const type = field.type;
  const tooWide =
    target === 'numeric' &&
    type.typeId === Type.FixedSizeBinary &&
    (type as FixedSizeBinary).byteWidth > MAX_NUMERIC_BYTES;
  if (!tooWide && (target === postgres || also.includes(target))) return;
  throw new WarehouseError(
    'data',
    `column "${field.name}" is ${typeText(type)} and cannot become ${target}`,
    {
      column: field.name,
      remedy: `Cast it in the query, or make the target column ${[postgres, ...also].join(', ')}.`,
    },
  );
};

/** One line of the type table, for people. */
export interface TypeTableRow {
  readonly arrow: string;
  readonly postgres: PgType;
  /** Other types an existing target column may have. */
  readonly also: readonly PgType[];
  readonly note: string;
}

/** The type table; README shows it. */
export const typeTable = (): readonly TypeTableRow[] =>
  Object.entries(RULES).map(([arrow, { postgres, also, note }]) => ({ arrow, postgres, also, note }));
