/** The command tree as such, without processes: every help has its example, shells complete it, the first policy file is sound. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Command } from 'commander';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { completionScript } from '../../src/cli/completion.ts';
import { createProgram, main } from '../../src/cli/main.ts';
import { parseConfig } from '../../src/runtime/config.ts';

const program = await createProgram();
const all = (command: Command): Command[] => [command, ...command.commands.flatMap(all)];
const nameOf = (command: Command): string =>
  command.parent === null ? command.name() : `${nameOf(command.parent)} ${command.name()}`;

const helpOf = (command: Command): string => {
  let text = '';
  command.configureOutput({ writeOut: (said) => (text += said) }).outputHelp();
  return text;
};

describe('help', () => {
  test.each(all(program).map((command) => [nameOf(command), command] as const))(
    '%s shows an example that it understands',
    (_name, command) => {
      const [, examples = ''] = helpOf(command).split('Example:\n');
      const lines = examples
        .split('\n')
        .filter((line) => line.includes('pgstrata') || line.includes('npm run'));
      expect(lines.length).toBeGreaterThan(0);
    },
  );
});

describe('completion', () => {
  /** What bash offers behind these words. */
  const offered = (...words: string[]): string[] =>
    execFileSync('bash', [
      '-c',
      `${completionScript(program, 'bash')}\nCOMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _pgstrata; printf '%s\\n' "\${COMPREPLY[@]}"`,
      'bash',
      ...words,
    ])
      .toString()
      .split('\n')
      .filter((word) => word !== '');

  test('of bash knows commands, their verbs and options, and choices', () => {
    expect(offered('pgstrata', 'in')).toEqual(['init', 'ingest']);
    expect(offered('pgstrata', 'labels', '')).toEqual(
      expect.arrayContaining(['add', 'list', 'remove', 'join']),
    );
    expect(offered('pgstrata', 'labels', 'add', '--on')).toEqual(['--on-duplicate']);
    expect(offered('pgstrata', '--json', 'serve', '--po')).toEqual(['--port']);
    expect(offered('pgstrata', 'completion', 'z')).toEqual(['zsh']);
  });

  test.each(['zsh', 'fish'] as const)('of %s names every command and option', (shell) => {
    const script = completionScript(program, shell);
    for (const command of all(program).slice(1)) {
      expect(script).toContain(command.name());
      for (const { long } of command.options) expect(script, long ?? '').toContain((long ?? '').slice(2));
    }
  });
});

describe('init', () => {
  const template = readFileSync(new URL('../../src/cli/pgstrata.yaml', import.meta.url), 'utf8');
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'pgstrata-init-'));
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  test('writes a file that is sound as it is, and with all that is commented out taken in', () => {
    expect(Object.keys(parseConfig(template, {}).streams)).toEqual(['erc20_transfers']);
    const whole = template.replaceAll(/^(\s*)#(?=\S)/gm, '$1');
    const { streams, servers, database } = parseConfig(whole, {});
    expect(Object.values(streams).map(({ load }) => load)).toEqual(['transfers', 'snapshots', 'rows']);
    expect([servers['chain']?.token, database.url]).toEqual(['none', expect.stringContaining('verify-full')]);
    expect(Object.keys(parse(whole) as object).toSorted()).toEqual(
      Object.keys(parseConfig('{ retry: {}, rate: {}, breaker: {} }', {})).toSorted(),
    );
  });

  test('never writes over a file, unless it is told to', async () => {
    const file = join(folder, 'mine.yaml');
    await writeFile(file, 'mine');
    expect(await main(['node', 'pgstrata', 'init', '--config', file])).toBe(2);
    expect(await readFile(file, 'utf8')).toBe('mine');
    expect(await main(['node', 'pgstrata', 'init', '--config', file, '--force'])).toBe(0);
    expect(await readFile(file, 'utf8')).toBe(template);
  });
});
