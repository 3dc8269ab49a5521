/** Fills in what README.md and docs/reference.md show from the code: types, commands, schema, and what demo and tests end in. */
import { execFile } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { Argument, Command } from 'commander';
import pg from 'pg';
import { typeTable } from '../src/arrow/types.ts';
import { createProgram } from '../src/cli/main.ts';
import { migrate } from '../src/db/migrate.ts';
import { markdownTable, replaceSection } from './marked-sections.ts';
import { withScratchServer } from './scratch.ts';

/** What a newcomer reads: it shows what the demo and the tests end in, and the types. */
export const README_FILE = fileURLToPath(new URL('../README.md', import.meta.url));

/** What is looked up: it shows commands and schema. */
export const REFERENCE_FILE = fileURLToPath(new URL('../docs/reference.md', import.meta.url));

const MAIN = fileURLToPath(new URL('../src/cli/bin.ts', import.meta.url));

const code = (text: string): string => `\`${text}\``;

/** More than a test run prints. */
const OUTPUT_BYTES_MAX = 64 * 1024 * 1024;

/** The type table of src/arrow/types.ts. */
export const typesSection = (): string =>
  markdownTable(
    ['Arrow', 'PostgreSQL', 'or', 'remarks'],
    typeTable().map(({ arrow, postgres, also, note }) => [
      arrow,
      code(postgres),
      // Fifteen names would say less than one word.
      also.length > 10 ? 'any other' : also.map(code).join(', '),
      note,
    ]),
  );

/** Options that the reference explains once for all commands. */
const COMMON_OPTIONS = new Set(['--config', '--json']);

const optionLines = (command: Command): string[] =>
  command.options
    .filter(({ long }) => !COMMON_OPTIONS.has(long ?? ''))
    .map(({ flags, description, defaultValue }) => {
      const preset = defaultValue === undefined ? '' : ` (default ${String(defaultValue)})`;
      return `| | ${code(flags)} | ${description}${preset} |`;
    });

/** `<verb>`, `[set]`, `[stream…]`. */
const placeOf = (argument: Argument): string => {
  const text = `${argument.name()}${argument.variadic ? '…' : ''}`;
  return argument.required ? `<${text}>` : `[${text}]`;
};
/** A command that does something itself, and each of the verbs below it. */
const verbsOf = (command: Command): { readonly name: string; readonly command: Command }[] => [
  ...(command.commands.length === 0 || command.registeredArguments.length > 0
    ? [{ name: command.name(), command }]
    : []),
  ...command.commands.map((verb) => ({ name: `${command.name()} ${verb.name()}`, command: verb })),
];

/** Every command with its options, as the command line itself knows them. */
export const commandsSection = async (): Promise<string> =>
  [
    '| command | option | |',
    '|---|---|---|',
    ...(await createProgram()).commands
      .flatMap(verbsOf)
      .flatMap(({ name, command }) => [
        `| ${code([name, ...command.registeredArguments.map((argument) => placeOf(argument))].join(' '))} | | ${command.description()} |`,
        ...optionLines(command),
      ]),
  ].join('\n');

const RELATIONS = `
  select c.relname as name, obj_description(c.oid, 'pg_class') as says
    from pg_catalog.pg_class c
   where c.relnamespace = 'strata'::regnamespace and c.relkind in ('r', 'p', 'v') and not c.relispartition
   order by c.relname`;

/** Tables and views of a migrated database, with the comments they carry. */
export const schemaSection = async (client: Pick<pg.ClientBase, 'query'>): Promise<string> => {
  const { rows } = await client.query<{ name: string; says: string | null }>(RELATIONS);
  return markdownTable(
    ['table or view', ''],
    rows.map(({ name, says }) => [code(name), says ?? '']),
  );
};

/** What a person's demo prints on stdout. */
const demoSection = async (url: string): Promise<string> => {
  const { stdout } = await promisify(execFile)(process.execPath, [MAIN, 'demo'], {
    cwd: tmpdir(), // a pgstrata.yaml of this folder is none of the demo's business
    env: { ...process.env, DATABASE_URL: url },
  });
  return `\`\`\`\n${stdout.trimEnd()}\n\`\`\``;
};

/** What a passing `npm test` ends in. */
const testsSection = async (): Promise<string> => {
  const vitest = join(createRequire(import.meta.url).resolve('vitest/package.json'), '..', 'vitest.mjs');
  const { stdout } = await promisify(execFile)(process.execPath, [vitest, 'run'], {
    cwd: dirname(README_FILE),
    env: { ...process.env, NO_COLOR: '1' },
    maxBuffer: OUTPUT_BYTES_MAX,
  }).catch(() => {
    throw new Error('npm test fails here; README.md keeps the output it had');
  });
  return `\`\`\`\n${stdout.slice(stdout.lastIndexOf(' Test Files')).trimEnd()}\n\`\`\``;
};

const fillIn = async (file: string, sections: Readonly<Record<string, string>>): Promise<void> => {
  const page = await readFile(file, 'utf8');
  const filled = Object.entries(sections).reduce(
    (text, [name, section]) => replaceSection(text, name, section),
    page,
  );
  await writeFile(file, filled);
};

if (import.meta.main) {
  await withScratchServer(async (url) => {
    const demo = await demoSection(url);
    await migrate({ connectionString: url });
    const client = new pg.Client({ connectionString: url });
    await client.connect();
    const schema = await schemaSection(client);
    await client.end();
    await fillIn(README_FILE, { demo, types: typesSection() });
    await fillIn(REFERENCE_FILE, { commands: await commandsSection(), schema });
  });
  // The whole suite takes minutes, so it runs only when asked for: npm run readme -- --tests
  if (process.argv.includes('--tests')) await fillIn(README_FILE, { tests: await testsSection() });
}
