/**
 * Loads a label file.
 *
 * ```
 *   file ──COPY──► pg_temp.label_stage (text) ──types, duplicates──► strata.labels_<name>
 * ```
 *
 * The file is read once, in pieces. A reload of the same columns changes only the rows that differ, which blocks nobody and
 * leaves views alone; one with other columns is built beside and takes the old table's place in the last moment. Either is
 * one transaction: readers and streams see the old labels or the new ones, whole.
 */
import { sql } from 'kysely';
import { recycleFrame } from '../../arrow/frame.ts';
import { copyIn } from '../../db/copy-in.ts';
import { asWarehouseError } from '../../db/errors.ts';
import { withAdvisoryLock } from '../../db/locks.ts';
import { withClient } from '../../db/pool.ts';
import { on, type Client, type Pool } from '../../db/query.ts';
import { WarehouseError } from '../../runtime/errors.ts';
import { columnNames } from './column-names.ts';
import { ALL_TYPES, chooseType, hasType, type LabelType } from './column-types.ts';
import { openFile, stageFrames, type Census, type OpenedFile, type StagePlan } from './reading.ts';
import { checkLabelName, findLabels, KEY_COLUMN, type LabelColumn, type LabelTable } from './registry.ts';
import { STAGE, storeLabels } from './store.ts';

/** What becomes of rows whose key came before. */
export type OnDuplicate = 'refuse' | 'first' | 'last';

/** A file to load. */
export interface AddLabelsOptions {
  /** The table is `strata.labels_<name>`. */
  readonly name: string;
  /** Its bytes. */
  readonly source: AsyncIterable<Uint8Array>;
  /** What to call it in errors and in `strata.labels`. */
  readonly fileName: string;
  /** The column that holds the account; `address`. */
  readonly key?: string;
  /** Types of columns, by the file's name or by the table's; the values decide about the others. */
  readonly types?: Readonly<Record<string, LabelType>>;
  readonly onDuplicate?: OnDuplicate;
  /** Take the place of labels of that name. */
  readonly replace?: boolean;
  readonly signal?: AbortSignal;
}

/** What was loaded. */
export interface AddedLabels {
  readonly name: string;
  readonly table: string;
  /** Rows of the table. */
  readonly rows: number;
  /** Rows of the file left out because of their key. */
  readonly duplicates: number;
  readonly columns: readonly LabelColumn[];
  readonly sha256: string;
  readonly replaced: boolean;
}

/** The line of the file a row begins on; no column of a file is ever called so. */
const LINE_COLUMN = '_line';

/**
 * Loads a CSV file (UTF-8, RFC 4180, a header) as labels of accounts.
 *
 * @throws WarehouseError `data` with file and line for a file that cannot be taken, `conflict` where labels of that name are
 *   there and `replace` was not said, or where something uses a column that would go
 */
export const addLabels = (pool: Pool, options: AddLabelsOptions): Promise<AddedLabels> =>
  withClient(pool, (client) => {
    checkLabelName(options.name);
    return withAdvisoryLock(client, `labels ${options.name}`, async () => {
      try {
        return await load(client, options);
      } catch (thrown) {
        throw inFile(asWarehouseError(thrown, { file: options.fileName }), options.fileName);
      } finally {
        await client.query('drop table if exists pg_temp.label_stage').catch(() => undefined);
      }
    });
  });

/** A fault of the file says in its first words where. */
const inFile = (error: WarehouseError, file: string): WarehouseError => {
  if (error.kind !== 'data') return error;
  const { line } = error.detail;
  const place = line === undefined ? file : `${file}, line ${line}`;
  return new WarehouseError(error.kind, `${place}: ${error.message}`, error.detail, error.cause);
};

const load = async (client: Client, options: AddLabelsOptions): Promise<AddedLabels> => {
  const { name, onDuplicate = 'refuse' } = options;
  const known = (await findLabels(client, [name])).get(name) ?? null;
  if (known !== null && options.replace !== true) {
    throw new WarehouseError('conflict', `labels ${name} are there already, from ${known.file}`, {
      remedy: 'Say --replace to take their place, or choose another name.',
    });
  }
  const file = await openFile(options.source);
  const plan = planStage(file, options, await reservedWords(client));
  const census: Census = { rows: 0, types: plan.columns.map(() => ALL_TYPES) };
  await stage(client, file, plan, census, options.signal);
  if (census.rows === 0) {
    throw new WarehouseError('data', 'the file has a header and no rows', {
      remedy: 'Give a file with rows; `pgstrata labels remove` takes labels away.',
    });
  }
  const duplicates = await settleDuplicates(client, onDuplicate);
  const labels = {
    name,
    key: plan.keyHeader,
    columns: typedColumns(plan, census, known),
    rows: census.rows - duplicates,
    duplicates,
    file: options.fileName,
    sha256: file.digest(),
  };
  await storeLabels(client, labels, known);
  return {
    name,
    table: `strata.labels_${name}`,
    rows: labels.rows,
    duplicates,
    columns: labels.columns,
    sha256: labels.sha256,
    replaced: known !== null,
  };
};

/** Words that would need quotes as a name. */
const reservedWords = async (client: Client): Promise<Set<string>> => {
  const { rows } = await sql<{
    word: string;
  }>`select word from pg_catalog.pg_get_keywords() where catcode in ('R', 'T')`.execute(on(client));
  return new Set(rows.map(({ word }) => word));
};

const planStage = (file: OpenedFile, options: AddLabelsOptions, reserved: ReadonlySet<string>): StagePlan => {
  const { key = 'address', types = {} } = options;
  const headers = file.header.fields.map((field) => (field ?? '').trim());
  const isKey = (header: string): boolean => header.toLowerCase() === key.trim().toLowerCase();
  const keyIndex = headers.findIndex(isKey);
  const fault = (message: string, remedy: string): WarehouseError =>
    new WarehouseError('data', message, { line: file.header.line, column: key, remedy });
  if (keyIndex < 0)
    throw fault(
      `the header has no column ${key}`,
      `It has ${headers.slice(0, 20).join(', ')}; the first line must name the columns, and --key the account's.`,
    );
  if (headers.findLastIndex(isKey) !== keyIndex)
    throw fault(`the header has column ${key} twice`, 'Rename one of them.');
  const others = headers.toSpliced(keyIndex, 1);
  const names = columnNames(others, new Set([...reserved, KEY_COLUMN]));
  const unknown = Object.keys(types).filter((column) => !others.includes(column) && !names.includes(column));
  if (unknown.length > 0)
    throw new WarehouseError('usage', `there is no column ${unknown.join(', ')} to give a type`, {
      remedy: `The file has ${others.join(', ')}.`,
    });
  return {
    keyIndex,
    keyHeader: headers[keyIndex]!,
    columns: others.map((header, index) => ({
      header,
      name: names[index]!,
      asked: types[header] ?? types[names[index]!] ?? null,
    })),
  };
};

const stage = async (
  client: Client,
  file: OpenedFile,
  plan: StagePlan,
  census: Census,
  signal: AbortSignal | undefined,
): Promise<void> => {
  const names = [LINE_COLUMN, KEY_COLUMN, ...plan.columns.map(({ name }) => name)];
  const types = ['bigint not null', 'bytea not null', ...plan.columns.map(() => 'text')];
  const columns = names.map((name, index) => sql`${sql.id(name)} ${sql.raw(types[index]!)}`);
  await sql`create temp table label_stage (${sql.join(columns)})`.execute(on(client));
  const copy = sql`copy ${STAGE} (${sql.join(names.map((name) => sql.id(name)))}) from stdin (format binary)`;
  await copyIn(client, copy.compile(on(client)).sql, stageFrames(file, plan, census), {
    signal,
    onSent: recycleFrame,
  });
  await sql`analyze ${STAGE}`.execute(on(client));
};

/** Leaves one row of each key in the stage; returns how many went. */
const settleDuplicates = async (client: Client, onDuplicate: OnDuplicate): Promise<number> => {
  const database = on(client);
  if (onDuplicate !== 'refuse') {
    const keep = sql.raw(onDuplicate === 'first' ? 'min' : 'max');
    const deleted = await sql`
      delete from ${STAGE} s using (
        select ${sql.id(KEY_COLUMN)} as key, ${keep}(${sql.id(LINE_COLUMN)}) as kept from ${STAGE} group by 1 having count(*) > 1
      ) d where s.${sql.id(KEY_COLUMN)} = d.key and s.${sql.id(LINE_COLUMN)} <> d.kept`.execute(database);
    return Number(deleted.numAffectedRows ?? 0n);
  }
  const { rows } = await sql<{ key: string; lines: readonly number[]; keys: number }>`
    select strata.account_text(${sql.id(KEY_COLUMN)}) as key, (array_agg(${sql.id(LINE_COLUMN)} order by ${sql.id(LINE_COLUMN)}))[1:5] as lines,
           count(*) over () as keys
      from ${STAGE} group by ${sql.id(KEY_COLUMN)} having count(*) > 1 order by min(${sql.id(LINE_COLUMN)}) limit 1`.execute(
    database,
  );
  const [first] = rows;
  if (first === undefined) return 0;
  const others = first.keys === 1 ? '' : `, and so do ${first.keys - 1} other keys`;
  throw new WarehouseError('data', `the key ${first.key} comes in lines ${first.lines.join(', ')}${others}`, {
    line: first.lines[1] ?? first.lines[0] ?? 0,
    value: first.key,
    remedy: 'Take duplicates out of the file, or choose with --on-duplicate first or last.',
  });
};

/** What is asked for first; then what the column has been so far, as long as the values fit; then what they fit. */
const typedColumns = (plan: StagePlan, census: Census, known: LabelTable | null): LabelColumn[] => {
  const before = new Map(known?.columns.map((column) => [column.name, column.type]));
  return plan.columns.map(({ name, header, asked }, index) => {
    const fitting = census.types[index] ?? ALL_TYPES;
    const earlier = before.get(name);
    const kept = earlier !== undefined && hasType(fitting, earlier) ? earlier : null;
    return { name, header, type: asked ?? kept ?? chooseType(fitting) };
  });
};
