/** Runs docs/walkthrough in a fresh database and writes what each statement gives behind it: `npm run walkthrough`. */
import { globSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type pg from 'pg';
import { table, type Cell } from '../src/cli/output.ts';
import { createPool, withClient } from '../src/db/pool.ts';
import { migrate } from '../src/db/migrate.ts';
import { withScratchServer } from './scratch.ts';

const FOLDER = fileURLToPath(new URL('../docs/walkthrough', import.meta.url));

/** The files, in their order. */
export const walkthroughFiles = (): string[] =>
  globSync('*.sql', { cwd: FOLDER })
    .toSorted()
    .map((file) => join(FOLDER, file));

/** A statement and the comments before it; what the statement gave when it was written down comes behind, between these. */
const OUTPUT = /\n\/\*\n[\s\S]*?\n\*\/\n/g;
const STATEMENT_END = /;[ \t]*\n/;

/** Statements of a file, each with what stands before it; a semicolon inside $$ ends none. */
const statementsOf = (text: string): string[] => {
  const statements: string[] = [];
  let rest = text;
  let held = '';
  for (let match = STATEMENT_END.exec(rest); match !== null; match = STATEMENT_END.exec(rest)) {
    held += rest.slice(0, match.index + match[0].length);
    rest = rest.slice(match.index + match[0].length);
    if (held.split('$$').length % 2 === 0) continue;
    statements.push(held);
    held = '';
  }
  return [...statements, held + rest];
};

const cellOf = (value: unknown): Cell => {
  if (value === null) return null;
  if (typeof value === 'number') return value;
  if (value instanceof Date)
    return value.toISOString().replace(/(?:T00:00:00)?\.000Z$/, (end) => (end.startsWith('T') ? '' : 'Z'));
  return typeof value === 'string' ? value : JSON.stringify(value);
};

const NUMBERS = new Set([20, 21, 23, 1700]);
/** bigint: ids use all of it. */
const INT8 = 20;

const shown = ({ fields, rows }: pg.QueryArrayResult<unknown[]>): string =>
  fields.length === 0 || (fields.length === 1 && rows.every(([value]) => value === ''))
    ? ''
    : `/*\n${table(
        fields.map(({ name }) => name),
        rows.map((row) => row.map(cellOf)),
        new Set(fields.flatMap(({ name, dataTypeID }) => (NUMBERS.has(dataTypeID) ? [name] : []))),
      )}\n*/\n`;

/** The text of a file with the output of each statement behind it, as this session gives it. */
export const renderWalkthrough = async (client: pg.ClientBase, text: string): Promise<string> => {
  let rendered = '';
  for (const statement of statementsOf(text.replaceAll(OUTPUT, '\n'))) {
    rendered += statement;
    if (statement.replaceAll(/--.*$/gm, '').trim() === '') continue;
    const result = await client.query<unknown[]>({
      text: statement,
      rowMode: 'array',
      types: {
        getTypeParser: ((oid: number, format?: 'text') =>
          oid === INT8
            ? (value: string) => value
            : client.getTypeParser(oid, format)) as pg.ClientBase['getTypeParser'],
      },
    });
    rendered += shown(result);
  }
  return rendered;
};

if (import.meta.main) {
  await withScratchServer(async (url) => {
    await migrate({ connectionString: url });
    const pool = createPool(url);
    await withClient(pool, async (client) => {
      for (const file of walkthroughFiles())
        await writeFile(file, await renderWalkthrough(client, await readFile(file, 'utf8')));
    });
    await pool.end();
  });
}
