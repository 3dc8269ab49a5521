/** README.md and docs/ keep their word: what they show exists, parses, runs, and equals what the code says. */
import { execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join, normalize } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import type { Command } from 'commander';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import {
  commandsSection,
  README_FILE,
  REFERENCE_FILE,
  schemaSection,
  typesSection,
} from '../scripts/readme-tables.ts';
import { replaceSection, sectionOf } from '../scripts/marked-sections.ts';
import { createProgram } from '../src/cli/main.ts';
import { migrate } from '../src/db/migrate.ts';
import { createChain } from '../src/devnet/chain.ts';
import { startDevnet } from '../src/devnet/server.ts';
import type { Devnet } from '../src/devnet/server.ts';
import { parseConfig } from '../src/runtime/config.ts';
import { useDatabase } from './database.ts';
import { load, type Settings } from './jobs/loading.ts';
import { blocksOf, PAGES, policies, proseOf, ROOT, shellLines } from './pages.ts';

const reference = readFileSync(REFERENCE_FILE, 'utf8');
const { scripts } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
  scripts: Record<string, string>;
};

const database = useDatabase();

/** Where the pages say that a Flight server listens; tests put a devnet there. */
const SHOWN_URL = 'grpc://127.0.0.1:1602';

/** Command lines of shell blocks and of inline code, without those that stand for any (`pgstrata …`). */
const commandLines = (): string[] => {
  const inline = [...PAGES.keys()].flatMap((page) => [
    ...proseOf(page).matchAll(/`((?:pgstrata|npm|npx) [^`]+)`/g),
  ]);
  return [...shellLines(), ...inline.flatMap((match) => (match[1] ?? '').split('&&'))]
    .map((line) => line.trim())
    .filter((line) => !line.includes('…'));
};

const program = await createProgram();

/** Parses the words behind `pgstrata` as the command line would, without doing anything. */
const parsePgstrata = ([name = '', ...words]: readonly string[]): void => {
  const found = program.commands.find((candidate) => candidate.name() === name);
  const verb = found?.commands.find((candidate) => candidate.name() === words[0]);
  const command = verb ?? found;
  expect(command, `there is no command ${name}`).toBeDefined();
  const { operands, unknown } = (command as Command).parseOptions(
    verb === undefined ? [...words] : words.slice(1),
  );
  expect(unknown).toEqual([]);
  const places = command?.registeredArguments ?? [];
  if (!places.some((place) => place.variadic)) expect(operands.length).toBeLessThanOrEqual(places.length);
};

/** Checks a line that begins with npm: the script exists, and takes what is given behind `--`. */
const parseNpm = (line: string): void => {
  const [, verb = '', name = ''] = line.split(/\s+/);
  if (verb === 'ci' || verb === 'link') return;
  const script = verb === 'run' ? name : verb;
  expect(Object.keys(scripts)).toContain(script);
  const words = (scripts[script] ?? '').split(' ');
  const given = line.split(' -- ')[1]?.split(/\s+/) ?? [];
  if (words[1] === 'src/cli/bin.ts') parsePgstrata([...words.slice(2), ...given]);
};

describe('commands', () => {
  it.each([...new Set(commandLines())])('%s', (line) => {
    const [tool = '', ...words] = line.split(/\s+/);
    if (tool === 'pgstrata') parsePgstrata(words);
    else parseNpm(line);
  });
});

describe('policy files', () => {
  const environment = { CHAIN_TOKEN: 'a token' };
  let devnet: Devnet;
  beforeAll(async () => {
    devnet = await startDevnet({ chain: createChain({ blocks: 50, transfersPerBlock: 5 }) });
  });
  afterAll(() => devnet.stop());

  it.each(policies())('parse: $name', ({ text }) => {
    expect(Object.keys(parseConfig(text, environment).servers)).not.toEqual([]);
  });

  it('load from a devnet where they name its address', async () => {
    const streams = policies()
      .map(({ text }) => text)
      .filter((yaml) => yaml.includes(SHOWN_URL))
      .flatMap((yaml) => Object.entries((parse(yaml) as { streams: Record<string, Settings> }).streams));
    expect(streams.length).toBeGreaterThan(2);
    for (const [stream, { server: _server, ...settings }] of streams) {
      const result = await load({ pool: database.pool, url: devnet.url, stream, settings });
      expect(result).toMatchObject({ stream, end: 'complete', blocks: 50, quarantined: 0 });
      expect(result.rows).toBeGreaterThan(0);
    }
  });

  it('are what the library examples need', { timeout: 120_000 }, async () => {
    const folder = await mkdtemp(join(tmpdir(), 'pgstrata-readme-'));
    try {
      const policy = policies()[0]?.text ?? '';
      const examples = blocksOf('ts').map(({ text }, index) => [index + 1, text] as const);
      const door = pathToFileURL(join(ROOT, 'src/index.ts'));
      await writeFile(join(folder, 'pgstrata.yaml'), policy.replace(SHOWN_URL, devnet.url));
      for (const [number, example] of examples) {
        await writeFile(join(folder, `typed${number}.ts`), example);
        await writeFile(
          join(folder, `run${number}.mts`),
          example.replace("from 'pgstrata'", `from '${door.href}'`),
        );
      }
      await typeCheck(folder);
      const { url } = await database.createDatabase();
      const env = { ...process.env, DATABASE_URL: url };
      await migrate({ connectionString: url });
      let said = '';
      for (const [number] of examples) {
        const { stdout } = await promisify(execFile)(process.execPath, [`run${number}.mts`], {
          cwd: folder,
          env,
        });
        said += stdout;
      }
      expect(said).toMatch(/^erc20_transfers: complete, \d{3,} rows$/m);
      expect(said).toContain('position: 49');
      expect(said).toContain("tablename: 'account_balances_2026_01_04_hash_");
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });
});

/** Compiles the folder's `typed*.ts` with the project's own strictness; `pgstrata` is its source. */
const typeCheck = async (folder: string): Promise<void> => {
  const settings = {
    extends: join(ROOT, 'tsconfig.json'),
    compilerOptions: {
      paths: { pgstrata: [join(ROOT, 'src/index.ts')] },
      typeRoots: [join(ROOT, 'node_modules/@types')],
    },
    include: ['typed*.ts'],
  };
  await writeFile(join(folder, 'package.json'), '{"type":"module"}');
  await writeFile(join(folder, 'tsconfig.json'), JSON.stringify(settings));
  const tsc = join(createRequire(import.meta.url).resolve('typescript/package.json'), '../bin/tsc');
  const { stdout } = await promisify(execFile)(process.execPath, [tsc, '-p', folder]).catch(
    (failure: unknown) => failure as { readonly stdout: string },
  );
  expect(stdout).toBe('');
};

describe('SQL', () => {
  it.each(blocksOf('sql'))('runs: $name', async ({ text }) => {
    // Undone again: roles belong to the whole server, and no block rests on another.
    await database.pool.query(`begin; ${text}; rollback`);
  });
});

/** What GitHub makes of a heading, to be linked to. */
const anchorOf = (heading: string): string =>
  heading
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N}\p{M} _-]/gu, '')
    .replaceAll(' ', '-');

const anchorsOf = (page: string): string[] =>
  [...proseOf(page).matchAll(/^#+ (.*)$/gm)].map((match) => anchorOf(match[1] ?? ''));

describe('links', () => {
  const links = [...PAGES.keys()].flatMap((page) =>
    [...proseOf(page).matchAll(/\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)/g)].map((match) => ({
      page,
      file: match[1] === '' ? page : normalize(join(dirname(page), match[1] ?? '')),
      anchor: match[2],
    })),
  );

  it.each(links)('of $page lead somewhere: $file $anchor', ({ file, anchor }) => {
    expect(existsSync(join(ROOT, file))).toBe(true);
    if (anchor !== undefined) expect(anchorsOf(file)).toContain(anchor);
  });

  it('lead to every page', () => {
    const linked = new Set(links.map(({ file }) => file));
    expect([...PAGES.keys()].filter((page) => page !== 'README.md' && !linked.has(page))).toEqual([]);
  });
});

describe('generated sections', () => {
  const hint = 'run `npm run readme`';

  it('types', () => {
    expect(sectionOf(readFileSync(README_FILE, 'utf8'), 'types'), hint).toBe(typesSection());
  });

  it('commands', async () => {
    expect(sectionOf(reference, 'commands'), hint).toBe(await commandsSection());
  });

  it('schema', async () => {
    expect(sectionOf(reference, 'schema'), hint).toBe(await schemaSection(database.pool));
  });

  it('are replaced between their markers only', () => {
    const text = 'a <!-- x:begin -->old<!-- x:end --> b';
    expect(replaceSection(text, 'x', 'new')).toBe('a <!-- x:begin -->\nnew\n<!-- x:end --> b');
    expect(() => replaceSection(text, 'y', 'new')).toThrow('no section y');
  });
});
