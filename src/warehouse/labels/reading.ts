/** Reads a label file once, from first byte to last: rows on their way into the stage, what they could be typed as beside. */
import { createHash } from 'node:crypto';
import {
  FRAME_HEAD_BYTES,
  DEFAULT_CHUNK_BYTES,
  headerFrame,
  openFrame,
  sealFrame,
  trailerFrame,
  type OpenFrame,
} from '../../arrow/frame.ts';
import { WarehouseError } from '../../runtime/errors.ts';
import { accountBytes } from '../account.ts';
import { ALL_TYPES, hasType, typesOf, type LabelType, type TypeSet } from './column-types.ts';
import { createCsvParser, type CsvRecord } from './csv.ts';

/** A file's first record, and a way to the others; both can be read once. */
export interface OpenedFile {
  readonly header: CsvRecord;
  /** What the first piece of the file held beside its header. */
  readonly first: readonly CsvRecord[];
  readonly rest: AsyncGenerator<readonly CsvRecord[], void>;
  /** SHA-256 of all bytes, as hex; known when the file is read to its end. */
  digest(): string;
}

/** A column on its way to the stage. */
export interface StagedColumn {
  /** As the file calls it. */
  readonly header: string;
  readonly name: string;
  /** The type that was asked for; null lets the values decide. */
  readonly asked: LabelType | null;
}

/** How the records of a file become rows of the stage. */
export interface StagePlan {
  /** Where the key stands in a record. */
  readonly keyIndex: number;
  readonly keyHeader: string;
  /** The other fields of a record, in their order. */
  readonly columns: readonly StagedColumn[];
}

/** What was seen of the file so far. */
export interface Census {
  rows: number;
  /** Types that all values of each column fit. */
  readonly types: TypeSet[];
}

/** The replacement character: what a lenient decoder makes of bytes that are not UTF-8. */
const REPLACEMENT = '\ufffd';

async function* recordsOf(
  source: AsyncIterable<Uint8Array>,
  onBytes: (bytes: Uint8Array) => void,
): AsyncGenerator<readonly CsvRecord[], void> {
  const parser = createCsvParser();
  // It takes a byte order mark away by itself.
  const decoder = new TextDecoder('utf-8', { fatal: true });
  const decode = (bytes?: Uint8Array): string => {
    try {
      return bytes === undefined ? decoder.decode() : decoder.decode(bytes, { stream: true });
    } catch {
      const lenient = new TextDecoder('utf-8').decode(bytes ?? new Uint8Array());
      parser.push(lenient.slice(0, Math.max(0, lenient.indexOf(REPLACEMENT))));
      throw new WarehouseError('data', 'the file is not UTF-8', {
        line: parser.line,
        remedy: 'Save it as UTF-8, for example with: iconv -f latin1 -t utf-8.',
      });
    }
  };
  for await (const bytes of source) {
    onBytes(bytes);
    const records = parser.push(decode(bytes));
    if (records.length > 0) yield records;
  }
  const last = [...parser.push(decode()), ...parser.end()];
  if (last.length > 0) yield last;
}

/**
 * Reads up to the header.
 *
 * @throws WarehouseError `data` for an empty file and for what is no CSV
 */
export const openFile = async (source: AsyncIterable<Uint8Array>): Promise<OpenedFile> => {
  const hash = createHash('sha256');
  const rest = recordsOf(source, (bytes) => hash.update(bytes));
  const { value } = await rest.next();
  const [header, ...first] = value ?? [];
  if (header === undefined) {
    throw new WarehouseError('data', 'the file is empty', {
      remedy: 'Give a CSV file whose first line names its columns.',
    });
  }
  return { header, first, rest, digest: () => hash.copy().digest('hex') };
};

const FIELD_HEAD_BYTES = 4;
const LINE_BYTES = 8;
/** UTF-8 takes at most so many bytes for one UTF-16 unit. */
const BYTES_PER_UNIT = 3;

const rowBound = (record: CsvRecord): number =>
  record.fields.reduce(
    (sum, field) => sum + FIELD_HEAD_BYTES + BYTES_PER_UNIT * (field?.length ?? 0),
    2 + FIELD_HEAD_BYTES + LINE_BYTES,
  );

const refuse = (record: CsvRecord, message: string, remedy: string, column?: string): WarehouseError =>
  new WarehouseError('data', message, {
    line: record.line,
    ...(column !== undefined && { column }),
    remedy,
  });

const keyOf = (record: CsvRecord, { keyIndex, keyHeader }: StagePlan): Buffer => {
  const key = record.fields[keyIndex] ?? '';
  if (key === '')
    throw refuse(record, 'a row has no key', 'Fill the key in, or take the row out.', keyHeader);
  // It would be stored, and never match anything.
  if (key !== key.trim())
    throw refuse(record, `the key ${JSON.stringify(key)} has blanks around it`, 'Take them away.', keyHeader);
  return accountBytes(key);
};

const checkWidth = (record: CsvRecord, { columns }: StagePlan): void => {
  const width = columns.length + 1;
  if (record.fields.length === width) return;
  throw refuse(
    record,
    `a row has ${record.fields.length} fields where the header has ${width}`,
    'Mend the row; a comma that belongs to a text needs quotes around it.',
  );
};

/** Narrows what the columns can be by one record; refuses what does not fit the type that was asked for. */
const survey = (record: CsvRecord, plan: StagePlan, census: Census): void => {
  for (let column = 0; column < plan.columns.length; column++) {
    const text = record.fields[column < plan.keyIndex ? column : column + 1] ?? null;
    if (text === null) continue;
    const { header, asked } = plan.columns[column]!;
    if (text.includes('\0'))
      throw refuse(
        record,
        'a text holds a NUL character, which PostgreSQL cannot keep',
        'Take it out.',
        header,
      );
    if (asked === 'text' || (asked === null && census.types[column] === TEXT_ONLY)) continue;
    const types = typesOf(text);
    if (asked !== null && !hasType(types, asked)) {
      throw refuse(
        record,
        `${JSON.stringify(text.slice(0, 80))} is no ${asked}`,
        `Mend the value, or leave out --type ${header}=${asked}.`,
        header,
      );
    }
    census.types[column] = (census.types[column] ?? ALL_TYPES) & types;
  }
  census.rows++;
};

/** What `typesOf` says of a text that is nothing else. */
const TEXT_ONLY: TypeSet = typesOf('a text');

const writeField = ({ bytes, view }: OpenFrame, at: number, field: string | Buffer | null): number => {
  const start = at + FIELD_HEAD_BYTES;
  if (field === null) {
    view.setInt32(at, -1);
    return start;
  }
  const length = typeof field === 'string' ? bytes.write(field, start, 'utf8') : field.copy(bytes, start);
  view.setInt32(at, length);
  return start + length;
};

const writeRow = (frame: OpenFrame, start: number, record: CsvRecord, plan: StagePlan): number => {
  frame.view.setInt16(start, record.fields.length + 1);
  frame.view.setInt32(start + 2, LINE_BYTES);
  frame.view.setBigInt64(start + 2 + FIELD_HEAD_BYTES, BigInt(record.line));
  let at = writeField(frame, start + 2 + FIELD_HEAD_BYTES + LINE_BYTES, keyOf(record, plan));
  for (let index = 0; index < record.fields.length; index++)
    if (index !== plan.keyIndex) at = writeField(frame, at, record.fields[index] ?? null);
  return at;
};

/**
 * The rows of a file as frames of a binary COPY into (line bigint, key bytea, columns text …); `census` is brought up to
 * date on the way.
 *
 * @throws WarehouseError `data` with the line of a row that cannot be taken
 */
export async function* stageFrames(
  file: OpenedFile,
  plan: StagePlan,
  census: Census,
): AsyncGenerator<Buffer, void> {
  yield headerFrame();
  let frame = openFrame(DEFAULT_CHUNK_BYTES);
  let at = FRAME_HEAD_BYTES;
  let records: readonly CsvRecord[] = file.first;
  for (;;) {
    for (const record of records) {
      checkWidth(record, plan);
      survey(record, plan, census);
      const bound = rowBound(record);
      if (at + bound > frame.bytes.length) {
        if (at > FRAME_HEAD_BYTES) yield sealFrame(frame, at);
        frame = openFrame(Math.max(DEFAULT_CHUNK_BYTES, FRAME_HEAD_BYTES + bound));
        at = FRAME_HEAD_BYTES;
      }
      at = writeRow(frame, at, record, plan);
    }
    const { done, value } = await file.rest.next();
    if (done === true) break;
    records = value;
  }
  if (at > FRAME_HEAD_BYTES) yield sealFrame(frame, at);
  yield trailerFrame();
}
