/** Results as an Arrow stream: what is read back is what was given, across batches, with nulls and text of any length. */
import { tableFromIPC } from 'apache-arrow';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { arrowStream, type ResultColumn } from '../../src/arrow/result.ts';
import { propertyOptions } from '../seed.ts';

const COLUMNS: readonly ResultColumn[] = [
  { name: 'account', type: 'text' },
  { name: 'changes', type: 'integer' },
  { name: 'at', type: 'instant' },
];

// A type, not an interface: only that may be read by any name.
type Row = {
  readonly account: string | null;
  readonly changes: number | null;
  readonly at: Date | null;
};

async function* oneByOne(rows: readonly Row[]): AsyncGenerator<Row> {
  yield* rows;
}

const readBack = async (rows: readonly Row[]): Promise<unknown[]> => {
  const pieces: Uint8Array[] = [];
  for await (const piece of arrowStream(COLUMNS, oneByOne(rows))) pieces.push(piece);
  const table = tableFromIPC(Buffer.concat(pieces));
  expect(table.schema.fields.map(({ name }) => name)).toEqual(COLUMNS.map(({ name }) => name));
  const at = table.getChild('at');
  return table
    .toArray()
    .map((row: { account: string | null; changes: bigint | null } | null, index: number) => ({
      account: row?.account ?? null,
      changes: row === null || row.changes === null ? null : Number(row.changes),
      at: at?.get(index) === null ? null : new Date(Number(at?.get(index))),
    }));
};

const text = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 12 }),
  fc.constant(''),
  fc.string({ minLength: 200, maxLength: 300 }),
);
const drawnRow = fc.record<Row>({
  account: fc.option(text),
  changes: fc.option(fc.maxSafeInteger()),
  at: fc.option(fc.date({ min: new Date(0), max: new Date('2100-01-01'), noInvalidDate: true })),
});

/** The drawn rows again and again, until there are so many: a batch has 4,096. */
const repeated = (rows: readonly Row[], length: number): Row[] =>
  Array.from({ length: rows.length === 0 ? 0 : length }, (_, index) => rows[index % rows.length]!);

test('reads back as it was given', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(drawnRow, { maxLength: 40 }),
      fc.constantFrom(0, 1, 7, 4_095, 4_096, 4_097, 9_001),
      async (rows, length) => {
        const given = repeated(rows, length);
        expect(await readBack(given)).toEqual(given);
      },
    ),
    propertyOptions(25),
  );
});
