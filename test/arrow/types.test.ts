/** Tests of the type table: what it says, and that a writer stands behind every line of it. */
import type { Data } from 'apache-arrow';
import {
  Binary,
  BinaryView,
  Bool,
  DateDay,
  DateMillisecond,
  Decimal,
  Dictionary,
  DurationSecond,
  Field,
  FixedSizeBinary,
  FixedSizeList,
  Float16,
  Float32,
  Float64,
  Int16,
  Int32,
  Int64,
  Int8,
  IntervalMonthDayNano,
  LargeBinary,
  LargeList,
  LargeUtf8,
  List,
  makeData,
  Map_,
  Null,
  Struct,
  TimeMicrosecond,
  TimeSecond,
  TimestampSecond,
  Uint16,
  Uint32,
  Uint64,
  Uint8,
  Utf8,
  Utf8View,
} from 'apache-arrow';
import type { DataType } from 'apache-arrow';
import { describe, expect, it } from 'vitest';

import {
  arrowTypeName,
  defaultPgType,
  pgTypeNamed,
  requireConversion,
  typeTable,
} from '../../src/arrow/types.ts';
import { bindWriter } from '../../src/arrow/writers.ts';
import { useDatabase } from '../database.ts';

const item = new Field('item', new Int32(), true);
const entries = new Field(
  'entries',
  new Struct([new Field('key', new Utf8()), new Field('value', new Int32())]),
  false,
);

const SAMPLES: readonly DataType[] = [
  new Null(),
  new Bool(),
  new Int8(),
  new Int16(),
  new Int32(),
  new Int64(),
  new Uint8(),
  new Uint16(),
  new Uint32(),
  new Uint64(),
  new Float16(),
  new Float32(),
  new Float64(),
  new Decimal(2, 38, 128),
  new Utf8(),
  new LargeUtf8(),
  new Utf8View(),
  new Binary(),
  new LargeBinary(),
  new BinaryView(),
  new FixedSizeBinary(32),
  new DateDay(),
  new DateMillisecond(),
  new TimeSecond(),
  new TimeMicrosecond(),
  new TimestampSecond(),
  new TimestampSecond('UTC'),
  new DurationSecond(),
  new IntervalMonthDayNano(),
  new List(item),
  new LargeList(item),
  new FixedSizeList(2, item),
  new Struct([item]),
  new Map_(entries as never),
];

/** A column without rows. */
const emptyOf = (type: DataType): Data => {
  const children = (type.children ?? []).map((field) => emptyOf(field.type as DataType));
  return makeData({ type, length: 0, children, child: children[0] } as never);
};

describe('the type table', () => {
  it('has a sample of every line here', () => {
    expect(SAMPLES.map(arrowTypeName)).toEqual(typeTable().map(({ arrow }) => arrow));
  });

  it.each(SAMPLES.map((type) => [arrowTypeName(type)!, type] as const))(
    '%s can be written as it says',
    (name, type) => {
      const field = new Field('c', type, true);
      const { postgres, also } = typeTable().find(({ arrow }) => arrow === name)!;
      expect(defaultPgType(field)).toBe(postgres);
      for (const target of [postgres, ...also]) {
        requireConversion(field, target);
        expect(bindWriter(emptyOf(type), target).bound(0, 0)).toBe(0);
      }
    },
  );

  it('names a dictionary by its values', () => {
    const field = new Field('c', new Dictionary(new Int64(), new Int32()), true);
    expect(defaultPgType(field)).toBe('bigint');
  });

  it('refuses what it does not list', () => {
    const refused = (type: DataType, target: 'numeric' | 'text' | 'timestamptz' | 'real'): void =>
      expect(() => requireConversion(new Field('c', type), target)).toThrow(/cannot become/);
    refused(new Float64(), 'numeric');
    refused(new Float64(), 'real');
    refused(new Int64(), 'timestamptz');
    refused(new Int64(), 'text');
    refused(new FixedSizeBinary(33), 'numeric');
  });
});

describe('PostgreSQL type names', () => {
  const database = useDatabase();

  it('are what the catalog calls them, too', async () => {
    for (const { postgres } of typeTable()) {
      const { rows } = await database.pool.query<{ format: string; typname: string }>(
        'select format_type(oid, typtypmod) as format, typname from pg_type where oid = $1::text::regtype',
        [postgres],
      );
      expect([pgTypeNamed(rows[0]!.format), pgTypeNamed(rows[0]!.typname)]).toEqual([postgres, postgres]);
    }
    expect(pgTypeNamed('numeric(38,0)')).toBe('numeric');
    expect(pgTypeNamed('timestamp(3) with time zone')).toBe('timestamptz');
    expect(pgTypeNamed('character varying(20)')).toBe('text');
    expect(pgTypeNamed('uuid')).toBeNull();
  });
});
