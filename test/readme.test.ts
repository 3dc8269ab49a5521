/** README.md keeps its word: what it shows exists, parses, runs, and equals what the code says. */
import { execFile } from 'node:child_process';
import { globSync, readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import type { Command } from 'commander';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import {
  commandsSection,
  README_FILE,
  replaceSection,
  schemaSection,
  sectionOf,
  typesSection,
} from '../scripts/readme-tables.ts';
import { createProgram } from '../src/cli/main.ts';
import { table } from '../src/cli/output.ts';
import { createPool } from '../src/db/pool.ts';
import { createChain } from '../src/devnet/chain.ts';
import { runDemo } from '../src/devnet/demo.ts';
import { startDevnet } from '../src/devnet/server.ts';
import type { Devnet } from '../src/devnet/server.ts';
import { parseConfig } from '../src/runtime/config.ts';
import type {
  Config,
  PartitionPolicy,
  RowsConfig,
  ServerConfig,
  SnapshotsConfig,
  TransfersConfig,
} from '../src/runtime/config.ts';
import { useDatabase } from './database.ts';
import { load, type Settings } from './jobs/loading.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const readme = readFileSync(README_FILE, 'utf8');
const { scripts } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
  scripts: Record<string, string>;
};

const database = useDatabase();

const blocksOf = (language: string): string[] =>
  [...readme.matchAll(/^```(\w+)\n([\s\S]*?)^```$/gm)]
    .filter((match) => match[1] === language)
    .map((match) => match[2] ?? '');

const numbered = (blocks: readonly string[]): [number, string][] =>
  blocks.map((block, index) => [index + 1, block]);

/** Where README says that a Flight server listens; tests put a devnet there. */
const SHOWN_URL = 'grpc://127.0.0.1:1602';

/** Command lines of shell blocks and of inline code, without those that stand for any (`pgstrata …`). */
const commandLines = (): string[] => {
  const shell = blocksOf('sh').flatMap((block) => block.split(/\n|&&/));
  const inline = [
    ...readme.replaceAll(/^```[\s\S]*?^```$/gm, '').matchAll(/`((?:pgstrata|npm|npx) [^`]+)`/g),
  ];
  return [...shell, ...inline.flatMap((match) => (match[1] ?? '').split('&&'))]
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.includes('…'));
};

/** Parses the words behind `pgstrata` as the command line would, without doing anything. */
const parsePgstrata = ([name = '', ...words]: readonly string[]): void => {
  const command = createProgram().commands.find((candidate) => candidate.name() === name);
  expect(command, `there is no command ${name}`).toBeDefined();
  const { operands, unknown } = (command as Command).parseOptions([...words]);
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

  it.each(numbered(blocksOf('yaml')))('parse: block %i', (_number, yaml) => {
    expect(Object.keys(parseConfig(yaml, environment).servers)).not.toEqual([]);
  });

  it('load from a devnet where they name its address', async () => {
    const streams = blocksOf('yaml')
      .filter((yaml) => yaml.includes(SHOWN_URL))
      .flatMap((yaml) => Object.entries((parse(yaml) as { streams: Record<string, Settings> }).streams));
    expect(streams.length).toBeGreaterThan(2);
    for (const [stream, { server: _server, ...settings }] of streams) {
      const result = await load({ pool: database.pool, url: devnet.url, stream, settings });
      expect(result).toMatchObject({ stream, end: 'complete', blocks: 50, quarantined: 0 });
      expect(result.rows).toBeGreaterThan(0);
    }
  });

  it('are what the library example needs', { timeout: 120_000 }, async () => {
    const folder = await mkdtemp(join(tmpdir(), 'pgstrata-readme-'));
    try {
      const [policy = ''] = blocksOf('yaml');
      const [example = ''] = blocksOf('ts');
      const door = pathToFileURL(join(ROOT, 'src/index.ts'));
      await writeFile(join(folder, 'pgstrata.yaml'), policy.replace(SHOWN_URL, devnet.url));
      await writeFile(join(folder, 'typed.ts'), example);
      await writeFile(join(folder, 'run.mts'), example.replace("from 'pgstrata'", `from '${door.href}'`));
      await typeCheck(folder);
      const { url } = await database.createDatabase();
      const env = { ...process.env, DATABASE_URL: url };
      const { stdout } = await promisify(execFile)(process.execPath, ['run.mts'], { cwd: folder, env });
      expect(stdout).toMatch(/^erc20_transfers: complete, \d{3,} rows$/m);
      expect(stdout).toContain('position: 49');
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });
});

/** Compiles the folder's `typed.ts` with the project's own strictness; `pgstrata` is its source. */
const typeCheck = async (folder: string): Promise<void> => {
  const settings = {
    extends: join(ROOT, 'tsconfig.json'),
    compilerOptions: {
      paths: { pgstrata: [join(ROOT, 'src/index.ts')] },
      typeRoots: [join(ROOT, 'node_modules/@types')],
    },
    include: ['typed.ts'],
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
  it.each(numbered(blocksOf('sql')))('runs: block %i', async (_number, text) => {
    await database.pool.query(text);
  });
});

describe('generated sections', () => {
  const hint = 'run `npm run readme`';

  it('types', () => {
    expect(sectionOf(readme, 'types'), hint).toBe(typesSection());
  });

  it('commands', () => {
    expect(sectionOf(readme, 'commands'), hint).toBe(commandsSection());
  });

  it('schema', async () => {
    expect(sectionOf(readme, 'schema'), hint).toBe(await schemaSection(database.pool));
  });

  it('the demo’s output, but for its times', { timeout: 120_000 }, async () => {
    const { url } = await database.createDatabase();
    const pool = createPool(url);
    try {
      const { signal } = new AbortController();
      const ignore = (): void => undefined;
      const { report, busiest } = await runDemo({
        pool,
        connectionString: url,
        signal,
        say: ignore,
        onEvent: ignore,
      });
      const shown = sectionOf(readme, 'demo');
      const rows = busiest.map((line) => [line.account, line.asset, BigInt(line.balance), line.changes]);
      expect(shown, hint).toContain(table(['account', 'asset', 'balance', 'changes'], rows));
      const { seconds: _seconds, rows_per_second: _rate, ...counts } = report;
      for (const count of Object.values(counts)) expect(shown, hint).toContain(count.toLocaleString('en'));
    } finally {
      await pool.end();
    }
  });

  it('are replaced between their markers only', () => {
    const text = 'a <!-- x:begin -->old<!-- x:end --> b';
    expect(replaceSection(text, 'x', 'new')).toBe('a <!-- x:begin -->\nnew\n<!-- x:end --> b');
    expect(() => replaceSection(text, 'y', 'new')).toThrow('no section y');
  });
});

/** A list that is complete and has no more: the compiler refuses this file when a field comes or goes. */
const allOf = <T>(fields: Record<keyof Required<T>, true>): string[] => Object.keys(fields);

const STREAM_FIELDS = {
  server: true,
  load: true,
  query: true,
  block: true,
  network_column: true,
  commit_rows: true,
  retry: true,
  rate: true,
  breaker: true,
} as const;

describe('reference', () => {
  it('lists every field of the configuration and no other', () => {
    const warehouse = allOf<Config['database']>({ url: true, allow_plaintext: true });
    const servers = allOf<Omit<ServerConfig, 'tls'>>({
      url: true,
      kind: true,
      token: true,
      token_file: true,
      allow_plaintext: true,
    });
    const tls = allOf<NonNullable<ServerConfig['tls']>>({
      ca: true,
      cert: true,
      key: true,
      server_name: true,
    });
    const transfers = allOf<TransfersConfig>({
      ...STREAM_FIELDS,
      standard: true,
      time: true,
      asset: true,
      token_id: true,
      grain: true,
      fold: true,
      ordinal: true,
      rules: true,
    });
    const snapshots = allOf<SnapshotsConfig>({
      ...STREAM_FIELDS,
      standard: true,
      time: true,
      account: true,
      asset: true,
      balance: true,
      usd_value: true,
      data: true,
      grain: true,
      only_changes: true,
    });
    const rows = allOf<Omit<RowsConfig, 'partition'>>({ ...STREAM_FIELDS, table: true, columns: true });
    const partition = allOf<NonNullable<RowsConfig['partition']>>({ time: true, hash: true, modulus: true });
    const sets = allOf<PartitionPolicy>({
      modulus: true,
      premake: true,
      window_start: true,
      window_ahead: true,
      consolidate_after: true,
      retain: true,
    });
    const retry = allOf<NonNullable<Config['retry']>>({
      tries: true,
      delay_ms: true,
      factor: true,
      delay_max_ms: true,
      jitter: true,
    });
    const rate = allOf<NonNullable<Config['rate']>>({ delay_max_ms: true });
    const breaker = allOf<NonNullable<Config['breaker']>>({ failures: true, pause_ms: true });
    const fields = [
      ...retry.map((field) => `retry.${field}`),
      ...rate.map((field) => `rate.${field}`),
      ...breaker.map((field) => `breaker.${field}`),
      ...warehouse.map((field) => `database.${field}`),
      ...servers.map((field) => `servers.<name>.${field}`),
      ...tls.map((field) => `servers.<name>.tls.${field}`),
      ...[...transfers, ...snapshots, ...rows].map((field) => `streams.<name>.${field}`),
      ...partition.map((field) => `streams.<name>.partition.${field}`),
      ...sets.map((field) => `partitions.<set>.${field}`),
    ];
    const shown = [...readme.matchAll(/^\|.*$/gm)]
      .map(([line]) => line.split('|')[1] ?? '')
      .flatMap((cell) => [
        ...cell.matchAll(/`((?:database|servers|streams|partitions|retry|rate|breaker)\.[^`]+)`/g),
      ])
      .map((match) => match[1] ?? '');
    expect(shown.toSorted()).toEqual([...new Set(fields)].toSorted());
  });

  it('lists the environment variables that are read', () => {
    const named = globSync('{src,scripts,test}/**/*.ts', { cwd: ROOT })
      .flatMap((file) => [
        ...readFileSync(join(ROOT, file), 'utf8').matchAll(/\b(?:env|environment)\['(\w+)'\]/g),
      ])
      .concat([...readFileSync(join(ROOT, 'test/seed.ts'), 'utf8').matchAll(/'(PGSTRATA_\w+)'/g)])
      .map((match) => match[1] ?? '')
      .filter((name) => /^(?:PG|DATABASE_|TEST_)/.test(name));
    const section = readme.slice(readme.indexOf('### Environment'), readme.indexOf('### Arrow'));
    const shown = [...section.matchAll(/^\| ((?:`\w+`(?:, )?)+)/gm)].flatMap((match) =>
      [...(match[1] ?? '').matchAll(/\w+/g)].map(([name]) => name),
    );
    expect(shown.toSorted()).toEqual([...new Set(named)].toSorted());
  });
});
