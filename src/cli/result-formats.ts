/** Rows of a query in the formats that `pgstrata query` prints: pieces made as rows come, none of them kept. */
import type { Column } from '../warehouse/analytics/query.ts';
import { table, type Cell } from './output.ts';

/** The formats. */
export const FORMATS = ['table', 'json', 'csv', 'arrow'] as const;
export type Format = (typeof FORMATS)[number];

type Row = Readonly<Record<string, unknown>>;
type Writer = (
  columns: readonly Column[],
  rows: AsyncIterable<Row>,
  say: (text: string) => void,
) => AsyncGenerator<string | Uint8Array, void, undefined>;

/** Rows of a table: it is held until its widths are known, and nobody reads more. */
const TABLE_ROWS_MAX = 1_000;
/** Characters gathered before they are written. */
const PIECE_CHARACTERS = 64 * 1024;

const textOf = (value: unknown): string =>
  value instanceof Date ? value.toISOString().replace('.000Z', 'Z') : String(value);

const QUOTED = /[",\r\n]/;

const csvField = (value: unknown): string => {
  if (value === null || value === undefined) return '';
  const text = textOf(value);
  return text === '' || QUOTED.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
};

/** Joins lines into pieces. */
async function* gathered(lines: AsyncIterable<string>): AsyncGenerator<string, void, undefined> {
  let piece = '';
  for await (const line of lines) {
    piece += line;
    if (piece.length < PIECE_CHARACTERS) continue;
    yield piece;
    piece = '';
  }
  if (piece !== '') yield piece;
}

async function* csvLines(
  columns: readonly Column[],
  rows: AsyncIterable<Row>,
): AsyncGenerator<string, void, undefined> {
  const names = columns.map(({ name }) => name);
  yield `${names.map(csvField).join(',')}\r\n`;
  for await (const row of rows) yield `${names.map((name) => csvField(row[name])).join(',')}\r\n`;
}

async function* jsonLines(rows: AsyncIterable<Row>): AsyncGenerator<string, void, undefined> {
  let before = '[';
  for await (const row of rows) {
    yield before + JSON.stringify(row);
    before = ',';
  }
  yield before === '[' ? '[]\n' : ']\n';
}

const trailingZeros = /(\.\d*?)0+$/;

const cellOf = ({ type }: Column, value: unknown): Cell => {
  if (value === null || value === undefined) return null;
  if (type === 'count') return value as number;
  return type === 'number'
    ? (value as string).replace(trailingZeros, '$1').replace(/\.$/, '')
    : textOf(value);
};

async function* tableText(
  columns: readonly Column[],
  rows: AsyncIterable<Row>,
  say: (text: string) => void,
): AsyncGenerator<string, void, undefined> {
  const cells: Cell[][] = [];
  for await (const row of rows) {
    if (cells.length === TABLE_ROWS_MAX) {
      say(
        `only the first ${TABLE_ROWS_MAX.toLocaleString('en')} rows are shown; take --format csv, json or arrow for all`,
      );
      break;
    }
    cells.push(columns.map((column) => cellOf(column, row[column.name])));
  }
  const numbers = new Set(columns.flatMap(({ name, type }) => (type === 'number' ? [name] : [])));
  yield `${table(
    columns.map(({ name }) => name),
    cells,
    numbers,
  )}\n`;
}

async function* arrowPieces(
  columns: readonly Column[],
  rows: AsyncIterable<Row>,
): AsyncGenerator<Uint8Array, void, undefined> {
  // Only who asks for Arrow waits for its library, and has the memory for it.
  const { arrowStream } = await import('../arrow/result.ts');
  yield* arrowStream(
    columns.map(({ name, type }) => ({
      name,
      type: type === 'count' ? 'integer' : type === 'instant' ? 'instant' : 'text',
    })),
    rows,
  );
}

/** How each format is written. */
export const WRITERS: Readonly<Record<Format, Writer>> = {
  table: tableText,
  json: (_columns, rows) => gathered(jsonLines(rows)),
  csv: (columns, rows) => gathered(csvLines(columns, rows)),
  arrow: arrowPieces,
};
