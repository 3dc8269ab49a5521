/** The house rules that a machine can check: floors, sizes, names, first sentences. */
import { globSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('..', import.meta.url));
const files = (...patterns: string[]): string[] => globSync(patterns, { cwd: root }).toSorted();
const read = (file: string): string => readFileSync(join(root, file), 'utf8');

/** Which folders a folder may import besides itself; the building of design and README. */
const FLOORS: Readonly<Record<string, number>> = {
  chain: 0,
  runtime: 0,
  arrow: 1,
  flight: 1,
  db: 1,
  warehouse: 2,
  jobs: 3,
  server: 4,
  devnet: 4,
  cli: 5,
};

const LINES_MAX = 350;
/** Written by `npm run schema:types`: as long as the schema is. */
const GENERATED = 'src/db/schema.ts';
const sources = files('src/**/*.ts');
const everything = files('src/**/*.ts', 'test/**/*.ts', 'scripts/**/*.ts', 'sql/**/*.sql');

const importsOf = (file: string): string[] =>
  [...read(file).matchAll(/^(?:import|export)\b[^;]*?from '([^']+)'/gms)].map((match) => match[1] ?? '');

const folderOf = (file: string): string => file.split('/')[1] ?? '';

describe('src', () => {
  it.each(sources.filter((file) => file.split('/').length > 2))(
    '%s imports its own floor or a lower one',
    (file) => {
      const floor = FLOORS[folderOf(file)];
      expect(floor, `${file} lies in a room without a floor`).toBeDefined();
      for (const target of importsOf(file).filter((name) => name.startsWith('.'))) {
        const folder = folderOf(normalize(join(dirname(file), target)));
        if (folder === folderOf(file)) continue;
        if (folderOf(file) === 'chain') expect(target, `${file} → ${target}`).toMatch(/runtime\/errors\.ts$/);
        else
          expect(FLOORS[folder], `${file} → ${target}`).toBeLessThanOrEqual(
            floor! -
              (floor === 0
                ? 0
                : folder === 'runtime' || folder === 'chain'
                  ? 0
                  : floor === FLOORS[folder]
                    ? 0
                    : 1),
          );
      }
    },
  );

  it('names grpc only in flight and devnet, pg only in db', () => {
    const naming = (name: RegExp): string[] =>
      [
        ...new Set(
          sources.filter((file) => importsOf(file).some((target) => name.test(target))).map(folderOf),
        ),
      ].toSorted();
    expect(naming(/^@grpc\//)).toEqual(['devnet', 'flight']);
    expect(naming(/^pg(-cursor)?$/)).toEqual(['db']);
  });

  it('keeps SQL out of jobs, server and cli', () => {
    const talkative = sources.filter(
      (file) =>
        ['jobs', 'server', 'cli'].includes(folderOf(file)) &&
        /\b(select .* from|insert into|delete from|update .* set|create table)\b/i.test(
          read(file).replaceAll(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, ''),
        ),
    );
    expect(talkative.filter((file) => file !== 'src/cli/context.ts')).toEqual([]);
  });

  it('has one class', () => {
    const classes = sources.flatMap((file) =>
      [...read(file).matchAll(/^(?:export )?class (\w+)/gm)].map((match) => match[1]),
    );
    expect(classes).toEqual(['WarehouseError']);
  });
});

describe('every file', () => {
  it.each(everything)('%s opens with a sentence and is no longer than it should be', (file) => {
    const text = read(file);
    if (file.endsWith('.ts') && !text.startsWith('#!')) expect(text).toMatch(/^\/\*\*/);
    if (file !== GENERATED) expect(text.split('\n').length).toBeLessThanOrEqual(LINES_MAX);
  });

  it('has a name that says what it holds', () => {
    expect(everything.filter((file) => /(^|\/)(utils?|common|helpers?|misc)(\.ts|\/)/.test(file))).toEqual(
      [],
    );
  });

  it('names no tool, path or registry of the machine it was written on', () => {
    const tracked = [
      ...everything,
      ...files('README.md', 'package.json', 'package-lock.json', 'docs/**/*.*', '.ci/run'),
    ];
    expect(
      tracked.filter(
        (file) => file !== 'test/tidy.test.ts' && /\/work\/main|"resolved": "http/.test(read(file)),
      ),
    ).toEqual([]);
  });
});

describe('package-lock.json', () => {
  it('holds every package of every platform, or npm ci refuses it', () => {
    const { packages } = JSON.parse(read('package-lock.json')) as {
      readonly packages: Readonly<
        Record<string, { readonly optionalDependencies?: Readonly<Record<string, string>> }>
      >;
    };
    const asked = Object.entries(packages).flatMap(([path, { optionalDependencies = {} }]) =>
      Object.keys(optionalDependencies).map((name) => [name, `${path}/node_modules/${name}`] as const),
    );
    const missing = asked.filter(
      ([name, nested]) => packages[`node_modules/${name}`] === undefined && packages[nested] === undefined,
    );
    expect(missing.map(([name]) => name)).toEqual([]);
  });
});
