/** What the tests of the encoder share: a column encoded alone, its raw fields, and the error an act throws. */
import type { Data, DataType, RecordBatch } from 'apache-arrow';
import { Data as ArrowData } from 'apache-arrow';

import type { CopyColumn } from '../../src/arrow/copy.ts';
import { createCopyEncoder } from '../../src/arrow/copy.ts';
import type { PgType } from '../../src/arrow/types.ts';
import { defaultPgType } from '../../src/arrow/types.ts';
import { batchOf } from './columns.ts';
import { rowsOf, type RawField } from './copy-rows.ts';

/** All columns of a batch, each into its default type or the one given. */
export const columnsOf = (batch: RecordBatch, pgType?: PgType): readonly CopyColumn[] =>
  batch.schema.fields.map((field) => ({
    name: field.name,
    source: field.name,
    pgType: pgType ?? defaultPgType(field),
    nullable: true,
  }));

/** The raw fields of one column, named `c`, encoded alone. */
export const encoded = (data: Data, pgType?: PgType): readonly RawField[] => {
  const batch = batchOf({ c: data });
  const encoder = createCopyEncoder(batch.schema, { columns: columnsOf(batch, pgType) });
  return rowsOf(encoder.encode(batch)).map(([field]) => field!);
};

/** What the act throws, or null. */
export const thrownOrNull = (act: () => unknown): unknown => {
  try {
    act();
    return null;
  } catch (thrown) {
    return thrown;
  }
};

/** What the act throws; it must. */
export const thrownBy = (act: () => unknown): unknown => {
  const thrown = thrownOrNull(act);
  if (thrown === null) throw new Error('nothing was thrown');
  return thrown;
};

/** The hex of a text's UTF-8. */
export const hex = (text: string): string => Buffer.from(text).toString('hex');

/** A column of 32-bit words, such as intervals are. */
export const wordData = (type: DataType, values: readonly number[], rows: number): Data =>
  new ArrowData(type, 0, rows, 0, [undefined, Int32Array.from(values)] as never);
