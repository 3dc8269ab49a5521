/** Which key an adopted table is followed by, and what becomes of its indexes; pure. */
import { identifier, literal } from '../../../db/quote.ts';
import type { IndexInfo } from './table.ts';

/** What stands in the way, with its remedy. */
export interface Obstacle {
  readonly obstacle: string;
  readonly remedy: string;
}

/** An index of the partitioned table. */
export interface AdoptedIndex {
  /** Its name afterwards, and the one it is made under while the plain table has that name. */
  readonly name: string;
  readonly made: string;
  readonly statements: readonly string[];
}

/** What the user asked for, as far as keys go. */
export interface KeyRequest {
  readonly qualified: string;
  readonly root: string;
  /** Names of made indexes begin so. */
  readonly prefix: string;
  readonly schema: string;
  readonly table: string;
  readonly time: string;
  readonly hash: string;
  readonly key: readonly string[] | undefined;
  readonly relaxUnique: boolean;
}

/** The keys and indexes of the partitioned table. */
export interface KeyPlan {
  /** Columns that know a row and its partition, names as they are. */
  readonly key: readonly string[];
  readonly indexes: readonly AdoptedIndex[];
  readonly obstacles: readonly Obstacle[];
  readonly notes: readonly string[];
  /** Whether no index of the table says that the key is unique: then its rows have to. */
  readonly unproven: boolean;
}

const list = (columns: readonly string[]): string => columns.map(identifier).join(', ');

/** A unique index that says of every row which it is. */
const knowsRows = ({ unique, partial, columns, given }: IndexInfo): boolean =>
  unique && !partial && given && columns.every((column) => column !== null);

/** The index whose columns are the key; undefined when there is none, or none was asked for. */
const keyIndexOf = (
  indexes: readonly IndexInfo[],
  asked: readonly string[] | undefined,
): IndexInfo | undefined => {
  const candidates = indexes
    .filter(knowsRows)
    .filter(({ columns }) => asked === undefined || columns.every((column) => asked.includes(column ?? '')));
  return (
    candidates.find(({ primary }) => primary) ??
    candidates.toSorted((a, b) => a.columns.length - b.columns.length)[0]
  );
};

/** Plans keys and indexes. */
export const planKeys = (indexes: readonly IndexInfo[], request: KeyRequest): KeyPlan => {
  const { time, hash, qualified, key: asked } = request;
  const keyIndex = keyIndexOf(indexes, asked);
  const columns = asked ?? keyIndex?.columns.filter((column) => column !== null) ?? [];
  const key = [...new Set([...columns, hash, time])];
  const obstacles: Obstacle[] = [];
  if (columns.length === 0) {
    obstacles.push({
      obstacle: `${qualified} has no key to know its rows by`,
      remedy: `Add one on-line: CREATE UNIQUE INDEX CONCURRENTLY ON ${qualified} (…); over NOT NULL columns, or name columns that are unique with --key.`,
    });
  } else if (
    keyIndex === undefined &&
    !indexes.some(({ columns: [first], partial }) => !partial && columns.includes(first ?? ''))
  ) {
    obstacles.push({
      obstacle: `no index finds a row of ${qualified} by (${list(columns)})`,
      remedy: `CREATE UNIQUE INDEX CONCURRENTLY ON ${qualified} (${list(columns)});`,
    });
  }
  const adopted: AdoptedIndex[] = [];
  const notes: string[] = [];
  const made = (): string => `${request.prefix}_${adopted.length}`;
  const primary = keyIndex ?? {
    name: `${request.table}_pkey`.slice(0, 63),
    included: [],
    options: '',
    deferral: '',
    comment: null,
  };
  adopted.push(primaryKey(request, key, primary, made()));
  if (keyIndex !== undefined && keyIndex.columns.length < key.length) {
    const was = `(${list(columns)})`;
    notes.push(
      `The key ${was} becomes PRIMARY KEY (${list(key)}), because a key of a partitioned table has the columns it is partitioned by. ${was} alone is no longer kept unique by the database, and INSERT … ON CONFLICT has to name all of them.`,
    );
  }
  for (const index of indexes) {
    if (index === keyIndex) continue;
    const holds = index.columns.includes(time) && index.columns.includes(hash);
    if (index.unique && !holds && !request.relaxUnique) obstacles.push(cannotHold(request, index));
    if (index.unique && !holds)
      notes.push(
        `${identifier(index.name)} becomes an ordinary index: nothing keeps its columns unique any more.`,
      );
    adopted.push(
      index.constraint === null || !holds
        ? plainIndex(request, index, made(), holds)
        : uniqueKey(request, index, made()),
    );
  }
  return { key, indexes: adopted, obstacles, notes, unproven: keyIndex === undefined && columns.length > 0 };
};

const cannotHold = (
  { time, hash, qualified }: KeyRequest,
  { name, columns, constraint }: IndexInfo,
): Obstacle => ({
  obstacle: `the unique index ${identifier(name)} on (${columns.map((column) => (column === null ? '…' : identifier(column))).join(', ')}) does not have both ${identifier(time)} and ${identifier(hash)}, so partitions cannot keep it`,
  remedy: `Adopt with --relax-unique, which makes an ordinary index of it, or drop it: ${
    constraint === null
      ? `DROP INDEX CONCURRENTLY ${identifier(name)};`
      : `ALTER TABLE ${qualified} DROP CONSTRAINT ${identifier(name)};`
  }`,
});

const commented = (text: string | null, on: string): readonly string[] =>
  text === null ? [] : [`comment on ${on} is ${literal(text)}`];

const include = (included: readonly string[]): string =>
  included.length === 0 ? '' : ` include (${list(included)})`;

const constraint = (
  { root }: KeyRequest,
  {
    name,
    included,
    options,
    deferral,
    comment,
  }: Pick<IndexInfo, 'name' | 'included' | 'options' | 'deferral' | 'comment'>,
  made: string,
  what: string,
): AdoptedIndex => ({
  name,
  made,
  statements: [
    `alter table ${root} add constraint ${identifier(made)} ${what}${include(included)}${options}${deferral}`,
    ...commented(comment, `constraint ${identifier(made)} on ${root}`),
  ],
});

const primaryKey = (
  request: KeyRequest,
  key: readonly string[],
  was: Pick<IndexInfo, 'name' | 'included' | 'options' | 'deferral' | 'comment'>,
  made: string,
): AdoptedIndex =>
  constraint(
    request,
    { ...was, included: was.included.filter((column) => !key.includes(column)) },
    made,
    `primary key (${list(key)})`,
  );

const uniqueKey = (request: KeyRequest, index: IndexInfo, made: string): AdoptedIndex =>
  constraint(
    request,
    index,
    made,
    `unique${index.tail.includes(' NULLS NOT DISTINCT') ? ' nulls not distinct' : ''} (${list(index.columns.filter((column) => column !== null))})`,
  );

const plainIndex = (
  { root, schema }: KeyRequest,
  { name, tail, unique, comment }: IndexInfo,
  made: string,
  holds: boolean,
): AdoptedIndex => ({
  name,
  made,
  statements: [
    unique && holds
      ? `create unique index ${identifier(made)} on ${root} using ${tail}`
      : `create index ${identifier(made)} on ${root} using ${tail.replace(' NULLS NOT DISTINCT', '')}`,
    ...commented(comment, `index ${identifier(schema)}.${identifier(made)}`),
  ],
});
