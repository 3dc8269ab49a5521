/** What commands print: results on stdout, everything else on stderr, no secret on either. */
import { WarehouseError, messageOf } from '../runtime/errors.ts';

/** Exit codes: 0 done, 1 failed, 2 misuse. */
export const EXIT_FAILED = 1;
export const EXIT_MISUSE = 2;

/** A value of a table cell. */
export type Cell = string | number | bigint | null;

/** A table of text: headers, rows, numbers to the right; also of columns that are said to hold numbers though they come as text. */
export const table = (
  headers: readonly string[],
  rows: readonly (readonly Cell[])[],
  numbers: ReadonlySet<string> = new Set(),
): string => {
  const texts = rows.map((row) =>
    row.map((cell) => (typeof cell === 'number' ? cell.toLocaleString('en') : String(cell ?? '–'))),
  );
  const widths = headers.map((header, column) =>
    Math.max(header.length, ...texts.map((row) => row[column]?.length ?? 0)),
  );
  const isNumber = headers.map(
    (header, column) =>
      numbers.has(header) ||
      rows.every(
        (row) => typeof row[column] === 'number' || typeof row[column] === 'bigint' || row[column] === null,
      ),
  );
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, column) =>
        isNumber[column] ? cell.padStart(widths[column] ?? 0) : cell.padEnd(widths[column] ?? 0),
      )
      .join('  ')
      .trimEnd();
  return [line(headers), line(widths.map((width) => '─'.repeat(width))), ...texts.map(line)].join('\n');
};

/** Prints a result: one line of JSON for scripts, text for people. */
export const printResult = (json: boolean, value: unknown, text: string): void => {
  process.stdout.write(json ? `${JSON.stringify(value)}\n` : `${text}\n`);
};

/** An error as people read it: what, where, what to do. */
export const describeError = (thrown: unknown): string => {
  if (!(thrown instanceof WarehouseError)) return `error: ${messageOf(thrown)}`;
  const { remedy, file: _file, line: _line, ...where } = thrown.detail;
  const place = Object.entries(where).map(([name, value]) => `${name} ${String(value)}`);
  return [
    `error: ${thrown.message}`,
    ...(place.length > 0 ? [`  where: ${place.join(', ')}`] : []),
    ...(remedy === undefined ? [] : [`  remedy: ${remedy}`]),
  ].join('\n');
};

/** An error for scripts. */
export const errorAsJson = (thrown: unknown): Record<string, unknown> =>
  thrown instanceof WarehouseError
    ? { error: thrown.message, kind: thrown.kind, ...thrown.detail }
    : { error: messageOf(thrown), kind: 'internal' };

/** The exit code an error asks for. */
export const exitCodeOf = (thrown: unknown): number =>
  thrown instanceof WarehouseError && (thrown.kind === 'usage' || thrown.kind === 'config')
    ? EXIT_MISUSE
    : EXIT_FAILED;

/** The same for a record: only its texts, so that it stays what it was. */
export const redactRecord = (
  record: Readonly<Record<string, unknown>>,
  secrets: readonly string[],
): Record<string, unknown> =>
  Object.fromEntries(
    Object.entries(record).map(([name, value]) => [
      name,
      typeof value === 'string' ? redact(value, secrets) : value,
    ]),
  );

/** Replaces secrets that found their way into a text; the last line of defence, not the first. */
export const redact = (text: string, secrets: readonly string[]): string =>
  secrets
    .filter((secret) => secret.length >= 4)
    .reduce((clean, secret) => clean.replaceAll(secret, '***'), text);
