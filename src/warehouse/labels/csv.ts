/** CSV as RFC 4180 has it, without I/O: text goes in as it comes, whole records come out. */
import { WarehouseError } from '../../runtime/errors.ts';

/** One record and the line of the file it begins on. */
export interface CsvRecord {
  readonly line: number;
  /** A field without anything between its commas is null; one that is `""` is an empty text. */
  readonly fields: readonly (string | null)[];
}

/** A parser in the midst of a file. */
export interface CsvParser {
  /** The line it has come to. */
  readonly line: number;
  /** @throws WarehouseError `data`, with the line, for what is no CSV */
  push(text: string): CsvRecord[];
  /** The file is over. */
  end(): CsvRecord[];
}

/** Longest field: what is longer is a quote that nobody closed. */
export const FIELD_CHARACTERS_MAX = 1_048_576;
/** Longest record, for it is held in memory and sent as one. */
const RECORD_CHARACTERS_MAX = 16 * FIELD_CHARACTERS_MAX;
/** Most fields of a record: about what fits a row of PostgreSQL when every one of them is stored out of line. */
export const FIELDS_MAX = 400;

const QUOTE = 0x22;
const COMMA = 0x2c;
const LF = 0x0a;
const CR = 0x0d;

/**
 * Where the parser stands.
 *
 * ```
 *   start ──"──► quoted ──"──► closed ──"──► quoted
 *     └─else─► plain             └─, or end of line─► start
 * ```
 */
type Place = 'start' | 'plain' | 'quoted' | 'closed';

const isBreak = (code: number): boolean => code === LF || code === CR;

const countLines = (text: string): number => {
  let lines = 0;
  for (let at = text.indexOf('\n'); at >= 0; at = text.indexOf('\n', at + 1)) lines++;
  return lines;
};

/** The end of what can stand in a field without quotes. */
const plainEnd = (text: string, from: number): number => {
  let end = from;
  for (; end < text.length; end++) {
    const code = text.charCodeAt(end);
    if (code === COMMA || code === QUOTE || isBreak(code)) break;
  }
  return end;
};

/** A parser at the start of a file, byte order mark taken off. Lines end in LF, CRLF or CR; blank lines are no records. */
export const createCsvParser = (): CsvParser => {
  let place: Place = 'start';
  let held = '';
  let fields: (string | null)[] = [];
  let line = 1;
  let recordLine = 1;
  let quoteLine = 1;
  let recordCharacters = 0;
  /** Whether a line ended in CR just now: an LF behind it belongs to that. */
  let afterReturn = false;
  let records: CsvRecord[] = [];

  const fail = (message: string, at: number, remedy: string): WarehouseError =>
    new WarehouseError('data', message, { line: at, remedy });
  const hold = (text: string): void => {
    held = held === '' ? text : held + text;
    recordCharacters += text.length;
    if (held.length <= FIELD_CHARACTERS_MAX && recordCharacters <= RECORD_CHARACTERS_MAX) return;
    throw fail(
      `a field is longer than ${FIELD_CHARACTERS_MAX.toLocaleString('en')} characters, or its row than 16 times that`,
      place === 'quoted' ? quoteLine : recordLine,
      'Close its quote, or leave the column out of the file.',
    );
  };
  const endField = (): void => {
    if (fields.length === FIELDS_MAX)
      throw fail(`a record has more than ${FIELDS_MAX} fields`, recordLine, 'Leave columns out of the file.');
    fields.push(held === '' && place !== 'closed' ? null : held);
    held = '';
  };
  const endRecord = (): void => {
    const isBlank = fields.length === 1 && fields[0] === null;
    if (!isBlank) records.push({ line: recordLine, fields });
    fields = [];
    recordCharacters = 0;
  };
  /** Takes the comma or the end of line behind a field. */
  const close = (code: number): void => {
    endField();
    place = 'start';
    if (code === COMMA) return;
    endRecord();
    afterReturn = code === CR;
    line++;
    recordLine = line;
  };
  const take = (): CsvRecord[] => {
    const taken = records;
    records = [];
    return taken;
  };
  /** Goes on from `at` within one place; returns where it stopped. */
  const step = (text: string, at: number): number => {
    switch (place) {
      case 'start':
        if (text.charCodeAt(at) !== QUOTE) {
          place = 'plain';
          return at;
        }
        place = 'quoted';
        quoteLine = line;
        return at + 1;
      case 'plain': {
        const end = plainEnd(text, at);
        hold(text.slice(at, end));
        if (end === text.length) return end;
        if (text.charCodeAt(end) === QUOTE)
          throw fail(
            'a quote stands inside a field without quotes',
            line,
            'Quote the field, and double the quote.',
          );
        close(text.charCodeAt(end));
        return end + 1;
      }
      case 'quoted': {
        const end = text.indexOf('"', at);
        const piece = end < 0 ? text.slice(at) : text.slice(at, end);
        hold(piece);
        line += countLines(piece);
        if (end < 0) return text.length;
        place = 'closed';
        return end + 1;
      }
      case 'closed': {
        const code = text.charCodeAt(at);
        if (code === QUOTE) {
          hold('"');
          place = 'quoted';
        } else if (code === COMMA || isBreak(code)) close(code);
        else
          throw fail(
            'text stands behind the closing quote of a field',
            line,
            'Double quotes that belong to the text.',
          );
        return at + 1;
      }
    }
  };

  return {
    get line() {
      return line;
    },
    push: (text) => {
      if (text === '') return [];
      let at = afterReturn && text.charCodeAt(0) === LF ? 1 : 0;
      afterReturn = false;
      while (at < text.length) {
        at = step(text, at);
        if (afterReturn && at < text.length) {
          if (text.charCodeAt(at) === LF) at++;
          afterReturn = false;
        }
      }
      return take();
    },
    end: () => {
      if (place === 'quoted')
        throw fail('a quote is never closed', quoteLine, 'Close it, or send the whole file.');
      if (place !== 'start' || fields.length > 0) {
        endField();
        endRecord();
        place = 'start';
      }
      return take();
    },
  };
};
