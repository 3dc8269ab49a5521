/** Reads SQL text just far enough to know where a statement ends: strings, quoted names, comments, brackets. It rewrites nothing. */

/** A piece of the text that means something: not white space, not a comment. */
interface Token {
  readonly text: string;
  readonly start: number;
  readonly end: number;
  /** Open brackets around it. */
  readonly depth: number;
}

/** What nothing can be added to: strings, names in quotes, `$tag$…$tag$`, comments, words, single characters. */
const PIECE =
  /(?<skip>\s+|--[^\n]*|\/\*)|'(?:[^']|'')*'|"(?:[^"]|"")*"|`[^`]*`|\$(?<tag>\w*)\$[\s\S]*?\$\k<tag>\$|[\p{L}_][\p{L}\p{N}_$]*|[\s\S]/gu;

/**
 * The position behind a comment that opens at `start`. Null where it is never closed, or another one opens inside: servers do not
 * agree where such a comment ends.
 */
const endOfComment = (sql: string, start: number): number | null => {
  const end = sql.indexOf('*/', start + 2);
  return end < 0 || sql.slice(start + 2, end).includes('/*') ? null : end + 2;
};

/** Null for text whose comments cannot be told from its statement. */
const tokensOf = (sql: string): readonly Token[] | null => {
  const tokens: Token[] = [];
  let depth = 0;
  const piece = new RegExp(PIECE);
  for (let match = piece.exec(sql); match !== null; match = piece.exec(sql)) {
    const [text] = match;
    if (match.groups?.['skip'] !== undefined) {
      if (text !== '/*') continue;
      const end = endOfComment(sql, match.index);
      if (end === null) return null;
      piece.lastIndex = end;
      continue;
    }
    if (text === ')') depth--;
    tokens.push({ text, start: match.index, end: piece.lastIndex, depth });
    if (text === '(') depth++;
  }
  return tokens;
};

/**
 * The statement alone: without what stands before and behind it, its semicolon included, so that it can be put in brackets. Null
 * when the text holds none or more than one, or a comment in a comment.
 */
export const soleStatement = (sql: string): string | null => {
  const tokens = tokensOf(sql) ?? [];
  const last = tokens.findLastIndex(({ text }) => text !== ';');
  const [first] = tokens;
  if (first === undefined || last < 0 || tokens.slice(0, last).some(({ text }) => text === ';')) return null;
  return sql.slice(first.start, tokens[last]!.end);
};

/** Whether the statement ends in a clause `SETTINGS name = value, …`; a column or table of that name is none. */
export const endsInSettings = (sql: string): boolean => {
  const tokens = tokensOf(sql) ?? [];
  return tokens.some(
    ({ text, depth }, index) =>
      /^settings$/i.test(text) &&
      depth === 0 &&
      /^\w+$/.test(tokens[index + 1]?.text ?? '') &&
      tokens[index + 2]?.text === '=',
  );
};
