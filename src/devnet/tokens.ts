/** SQL text cut into tokens, for the little SQL that the devnet understands. */
import { WarehouseError } from '../runtime/errors.ts';

/** A word (lower-cased unless quoted), a number, a symbol, or the end. */
interface Token {
  readonly kind: 'word' | 'quoted' | 'number' | 'symbol' | 'end';
  readonly text: string;
}

/** Reads tokens one after the other. */
export interface TokenReader {
  readonly peek: (ahead?: number) => Token;
  readonly next: () => Token;
  /** Takes the next token when it is one of these unquoted words or symbols. */
  readonly take: (...texts: readonly string[]) => boolean;
  /** Takes the next token, which must be this. */
  readonly expect: (text: string) => void;
  /** A name: a quoted one as written, a plain word otherwise. */
  readonly name: (what: string) => string;
  readonly number: () => number;
}

const TOKEN =
  /\s+|--[^\n]*|\/\*[\s\S]*?\*\/|"((?:[^"]|"")*)"|([A-Za-z_][A-Za-z0-9_]*)|(\d+)|(<=|>=|<>|!=|[(),.*;=<>-])/y;

/** Largest query that is looked at. */
const MAX_QUERY_CHARACTERS = 100_000;

/** What the query got wrong; a client sees it as INVALID_ARGUMENT. */
export const badQuery = (what: string): WarehouseError =>
  new WarehouseError('usage', what, { remedy: 'Ask for SELECT columns FROM table WHERE block_num …' });

const tokenOf = ([, quoted, word, digits, symbol]: RegExpExecArray): Token | null => {
  if (quoted !== undefined) return { kind: 'quoted', text: quoted.replaceAll('""', '"') };
  if (word !== undefined) return { kind: 'word', text: word.toLowerCase() };
  if (digits !== undefined) return { kind: 'number', text: digits };
  return symbol === undefined ? null : { kind: 'symbol', text: symbol };
};

const tokenise = (sql: string): readonly Token[] => {
  if (sql.length > MAX_QUERY_CHARACTERS)
    throw badQuery(`The query is longer than ${MAX_QUERY_CHARACTERS} characters.`);
  const tokens: Token[] = [];
  const pattern = new RegExp(TOKEN);
  while (pattern.lastIndex < sql.length) {
    const start = pattern.lastIndex;
    const match = pattern.exec(sql);
    if (match === null)
      throw badQuery(`The query cannot be read from ${JSON.stringify(sql.slice(start, start + 20))} on.`);
    const token = tokenOf(match);
    if (token !== null) tokens.push(token);
  }
  return tokens;
};

/** A reader at the start of `sql`. */
export const readTokens = (sql: string): TokenReader => {
  const tokens = tokenise(sql);
  const end: Token = { kind: 'end', text: 'the end of the query' };
  let position = 0;
  const peek = (ahead = 0): Token => tokens[position + ahead] ?? end;
  const next = (): Token => {
    const token = peek();
    position += 1;
    return token;
  };
  const take = (...texts: readonly string[]): boolean => {
    const { kind, text } = peek();
    const isMatch = (kind === 'word' || kind === 'symbol') && texts.includes(text);
    if (isMatch) position += 1;
    return isMatch;
  };
  return {
    peek,
    next,
    take,
    expect: (text) => {
      if (!take(text)) throw badQuery(`Expected ${text.toUpperCase()}, found ${peek().text}.`);
    },
    name: (what) => {
      const { kind, text } = next();
      if (kind === 'quoted' || kind === 'word') return text;
      throw badQuery(`Expected ${what}, found ${text}.`);
    },
    number: () => {
      const { kind, text } = next();
      if (kind === 'number' && Number.isSafeInteger(Number(text))) return Number(text);
      throw badQuery(`Expected a block number, found ${text}.`);
    },
  };
};
