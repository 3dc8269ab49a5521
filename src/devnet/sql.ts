/** The SQL a devnet understands: columns of one table, filtered by block number, nested and wrapped as one likes. */
import { ALL, between, complement, intersect, unite } from './intervals.ts';
import type { Intervals } from './intervals.ts';
import type { TableShape } from './source.ts';
import { badQuery, readTokens } from './tokens.ts';
import type { TokenReader } from './tokens.ts';

/** One column of a result: which column of the table, under which name. */
export interface OutputColumn {
  readonly source: string;
  readonly name: string;
}

/** A query, understood. */
export interface Query {
  readonly table: string;
  readonly columns: readonly OutputColumn[];
  readonly blocks: Intervals;
  /** Rows at most; null for all. */
  readonly limit: number | null;
  /** What `SETTINGS stream = …` says; null when the query does not say it. */
  readonly stream: boolean | null;
  /** Words that a stream may not contain, as found: LIMIT, ORDER BY, DISTINCT. */
  readonly batchOnly: readonly string[];
}

/** What stands in a FROM. */
interface Relation {
  readonly table: string;
  readonly columns: readonly OutputColumn[];
  /** What `*` means: all columns of a subquery, all but `_block_num` of a table. */
  readonly star: readonly OutputColumn[];
  readonly blocks: Intervals;
  readonly limit: number | null;
  readonly batchOnly: readonly string[];
}

interface Scope {
  readonly tables: ReadonlyMap<string, TableShape>;
  /** Queries named by WITH. */
  readonly named: ReadonlyMap<string, Relation>;
  readonly depth: number;
}

/** Deepest nesting of subqueries that is followed. */
const MAX_DEPTH = 32;
/** The column every table has and `SELECT *` leaves out. */
const BLOCK_NUM = '_block_num';
/** Words that end a FROM, hence cannot be an alias. */
const CLAUSES = new Set(['where', 'order', 'limit', 'settings', 'group', 'union', 'join', 'having']);

const tableRelation = (name: string, { tables }: Scope): Relation => {
  const shape = tables.get(name);
  if (shape === undefined) {
    throw badQuery(`There is no table ${name}; there are ${[...tables.keys()].join(', ')}.`);
  }
  const columns = shape.schema.fields.map((field) => ({ source: field.name, name: field.name }));
  const star = columns.filter((column) => column.name !== BLOCK_NUM);
  return { table: name, columns, star, blocks: ALL, limit: null, batchOnly: [] };
};

const findColumn = (relation: Relation, name: string): OutputColumn => {
  const found = relation.columns.find((column) => column.name === name);
  if (found !== undefined) return found;
  throw badQuery(
    `There is no column ${name}; there are ${relation.columns.map((column) => column.name).join(', ')}.`,
  );
};

/** A column name, with or without the table's name or alias before it. */
const parseColumnName = (reader: TokenReader): string => {
  const name = reader.name('a column');
  return reader.take('.') ? reader.name('a column') : name;
};

const COMPARISONS: Readonly<Record<string, (value: number) => Intervals>> = {
  '=': (value) => between(value, value),
  '<': (value) => between(0, value - 1),
  '<=': (value) => between(0, value),
  '>': (value) => between(value + 1, Infinity),
  '>=': (value) => between(value, Infinity),
  '<>': (value) => complement(between(value, value)),
  '!=': (value) => complement(between(value, value)),
};
const MIRRORED: Readonly<Record<string, string>> = { '<': '>', '<=': '>=', '>': '<', '>=': '<=' };

const comparison = (operator: string): ((value: number) => Intervals) => {
  const compare = COMPARISONS[operator];
  if (compare === undefined) throw badQuery(`Expected a comparison, found ${operator}.`);
  return compare;
};

const parseBlockColumn = (reader: TokenReader, relation: Relation, { tables }: Scope): void => {
  const { source, name } = findColumn(relation, parseColumnName(reader));
  if (tables.get(relation.table)?.blockColumns.includes(source) === true) return;
  throw badQuery(`The devnet filters by block number only, not by ${name}.`);
};

const parsePredicate = (reader: TokenReader, relation: Relation, scope: Scope): Intervals => {
  if (reader.take('true')) return ALL;
  if (reader.peek().kind === 'number') {
    const value = reader.number();
    const operator = reader.next().text;
    parseBlockColumn(reader, relation, scope);
    return comparison(MIRRORED[operator] ?? operator)(value);
  }
  parseBlockColumn(reader, relation, scope);
  const isNegated = reader.take('not');
  if (!isNegated && !reader.take('between')) return comparison(reader.next().text)(reader.number());
  if (isNegated) reader.expect('between');
  const from = reader.number();
  reader.expect('and');
  const range = between(from, reader.number());
  return isNegated ? complement(range) : range;
};

const parseFactor = (reader: TokenReader, relation: Relation, scope: Scope): Intervals => {
  if (reader.take('not')) return complement(parseFactor(reader, relation, scope));
  if (!reader.take('(')) return parsePredicate(reader, relation, scope);
  const inner = parseCondition(reader, relation, scope);
  reader.expect(')');
  return inner;
};

const parseConjunction = (reader: TokenReader, relation: Relation, scope: Scope): Intervals => {
  let blocks = parseFactor(reader, relation, scope);
  while (reader.take('and')) blocks = intersect(blocks, parseFactor(reader, relation, scope));
  return blocks;
};

const parseCondition = (reader: TokenReader, relation: Relation, scope: Scope): Intervals => {
  let blocks = parseConjunction(reader, relation, scope);
  while (reader.take('or')) blocks = unite(blocks, parseConjunction(reader, relation, scope));
  return blocks;
};

/** The select list cannot be resolved before its FROM is known: it waits as a function. */
type Selection = (relation: Relation) => readonly OutputColumn[];

const parseItem = (reader: TokenReader): Selection => {
  if (reader.take('*')) return ({ star }) => star;
  if (reader.peek(1).text === '.' && reader.peek(2).text === '*') {
    for (let part = 0; part < 3; part += 1) reader.next();
    return ({ star }) => star;
  }
  const name = parseColumnName(reader);
  const alias = reader.take('as') ? reader.name('a name') : name;
  return (relation) => [{ source: findColumn(relation, name).source, name: alias }];
};

const parseSelection = (reader: TokenReader): Selection => {
  const items = [parseItem(reader)];
  while (reader.take(',')) items.push(parseItem(reader));
  return (relation) => items.flatMap((item) => item(relation));
};

const parseTableName = (reader: TokenReader): { readonly name: string; readonly isPlain: boolean } => {
  let name = reader.name('a table');
  let isPlain = true;
  while (reader.take('.')) {
    name = reader.name('a table');
    isPlain = false;
  }
  return { name, isPlain };
};

const parseSource = (reader: TokenReader, scope: Scope): Relation => {
  if (!reader.take('(')) {
    const { name, isPlain } = parseTableName(reader);
    return (isPlain ? scope.named.get(name) : undefined) ?? tableRelation(name, scope);
  }
  const inner = parseSelect(reader, { ...scope, depth: scope.depth + 1 });
  reader.expect(')');
  return inner;
};

const skipAlias = (reader: TokenReader): void => {
  const { kind, text } = reader.peek();
  if (reader.take('as') || kind === 'quoted' || (kind === 'word' && !CLAUSES.has(text)))
    reader.name('an alias');
};

/** Rows come in block order anyway, so ascending block order needs nothing done and no other is offered. */
const parseOrder = (reader: TokenReader, relation: Relation): void => {
  reader.expect('by');
  do {
    findColumn(relation, parseColumnName(reader));
    reader.take('asc');
    if (reader.take('desc')) throw badQuery('The devnet cannot ORDER BY … DESC.');
  } while (reader.take(','));
};

const parseSelect = (reader: TokenReader, scope: Scope): Relation => {
  if (scope.depth > MAX_DEPTH) throw badQuery(`The query nests deeper than ${MAX_DEPTH} levels.`);
  if (reader.take('with')) return parseWith(reader, scope);
  reader.expect('select');
  if (reader.take('distinct')) throw badQuery('The devnet cannot SELECT DISTINCT.');
  const selection = parseSelection(reader);
  reader.expect('from');
  const relation = parseSource(reader, scope);
  skipAlias(reader);
  if (relation.limit !== null && reader.peek().text === 'where')
    throw badQuery('The devnet cannot filter behind a LIMIT.');
  const filter = reader.take('where') ? parseCondition(reader, relation, scope) : ALL;
  const isOrdered = reader.take('order');
  if (isOrdered) parseOrder(reader, relation);
  const limit = reader.take('limit') ? reader.number() : null;
  const columns = selection(relation);
  return {
    table: relation.table,
    columns,
    star: columns,
    blocks: intersect(relation.blocks, filter),
    limit:
      limit === null || relation.limit === null ? (limit ?? relation.limit) : Math.min(limit, relation.limit),
    batchOnly: [
      ...relation.batchOnly,
      ...(isOrdered ? ['ORDER BY'] : []),
      ...(limit === null ? [] : ['LIMIT']),
    ],
  };
};

const parseWith = (reader: TokenReader, scope: Scope): Relation => {
  const named = new Map(scope.named);
  do {
    const name = reader.name('a name');
    reader.expect('as');
    reader.expect('(');
    named.set(name, parseSelect(reader, { ...scope, named, depth: scope.depth + 1 }));
    reader.expect(')');
  } while (reader.take(','));
  return parseSelect(reader, { ...scope, named, depth: scope.depth + 1 });
};

const parseSettings = (reader: TokenReader): boolean | null => {
  if (!reader.take('settings')) return null;
  reader.expect('stream');
  reader.expect('=');
  if (reader.take('true')) return true;
  reader.expect('false');
  return false;
};

/**
 * Understands `sql` against these tables.
 *
 * @throws WarehouseError `usage` that says what is wrong: an unknown table or column, or SQL beyond the devnet.
 */
export const parseQuery = (sql: string, tables: ReadonlyMap<string, TableShape>): Query => {
  const reader = readTokens(sql);
  const relation = parseSelect(reader, { tables, named: new Map(), depth: 0 });
  const stream = parseSettings(reader);
  reader.take(';');
  const { kind, text } = reader.next();
  if (kind !== 'end') throw badQuery(`The devnet does not understand the query from ${text} on.`);
  const { table, columns, blocks, limit, batchOnly } = relation;
  return { table, columns, blocks, limit, stream, batchOnly };
};
