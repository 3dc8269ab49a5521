/** Every command as a process: its help, its one line of JSON, its exit code. */
import { readdir } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createProgram } from '../../src/cli/main.ts';
import { createChain } from '../../src/devnet/chain.ts';
import type { SimulatedChain } from '../../src/devnet/chain.ts';
import { startDevnet } from '../../src/devnet/server.ts';
import type { Devnet } from '../../src/devnet/server.ts';
import { useDatabase } from '../database.ts';
import { until } from '../db/until.ts';
import { TRANSFERS } from '../jobs/loading.ts';
import { expectChain } from '../jobs/oracle.ts';
import { jsonOf, openFolder } from './command.ts';
import type { Folder } from './command.ts';

const database = useDatabase();
const program = await createProgram();
let folder: Folder;
let devnet: Devnet<SimulatedChain>;
/** What `doctor --json` prints. */
interface Findings {
  readonly findings: readonly {
    readonly check: string;
    readonly state: string;
    readonly says: string;
    readonly remedy?: string;
  }[];
}

const environment = (): NodeJS.ProcessEnv => ({ DATABASE_URL: database.url });

beforeAll(async () => {
  devnet = await startDevnet({
    chain: createChain({ blocks: 30, accounts: 8, tokens: 2, transfersPerBlock: 3 }),
  });
  folder = await openFolder();
  await folder.writePolicy({
    servers: { devnet: { url: devnet.url } },
    streams: { first: { ...TRANSFERS, server: 'devnet' }, second: { ...TRANSFERS, server: 'devnet' } },
  });
});
afterAll(async () => {
  await folder.remove();
  await devnet.stop();
});

describe('help', () => {
  const COMMANDS: string[][] = program.commands.flatMap((command) => [
    ...(command.registeredArguments.length > 0 || command.commands.length === 0 ? [[command.name()]] : []),
    ...command.commands.map((verb) => [command.name(), verb.name()]),
  ]);

  test('of the whole names every command, the environment, and an example', async () => {
    const { code, stdout } = await folder.run(['--help']);
    expect(code).toBe(0);
    for (const text of [...COMMANDS.map(([name = '']) => name), 'DATABASE_URL', 'PGSTRATA_LOG', 'Example:'])
      expect(stdout).toContain(text);
  });

  test('of each command shows an example, --config and --json', async () => {
    expect(COMMANDS.length).toBeGreaterThan(20);
    for (const { code, stdout } of await Promise.all(
      COMMANDS.map((command) => folder.run([...command, '--help'])),
    )) {
      expect(code).toBe(0);
      expect(stdout).toMatch(/Example:\n {2}\S/);
      expect(stdout).toContain('--config');
      expect(stdout).toContain('--json');
    }
  });

  test('goes to stdout when asked for, and misuse to stderr with exit code 2', async () => {
    const [version, typo, option, number, none] = await Promise.all([
      folder.run(['--version']),
      folder.run(['ingset']),
      folder.run(['ingest', '--form', '1']),
      folder.run(['ingest', '--from', '-1']),
      folder.run([]),
    ]);
    expect(version).toMatchObject({ code: 0, stdout: expect.stringMatching(/^\d+\.\d+\.\d+\n$/) as string });
    expect(typo).toMatchObject({
      code: 2,
      stdout: '',
      stderr: expect.stringMatching(/unknown command 'ingset'[^]*ingest/) as string,
    });
    expect(option).toMatchObject({
      code: 2,
      stdout: '',
      stderr: expect.stringMatching(/unknown option '--form'[^]*--from/) as string,
    });
    expect(number).toMatchObject({
      code: 2,
      stdout: '',
      stderr: expect.stringMatching(/block number/) as string,
    });
    expect(none).toMatchObject({ code: 2, stdout: '' });
  });
});

describe('with --json', () => {
  test('migrate says what it applied, once; --dry-run changes nothing', async () => {
    const { rows } = await database.pool.query<{ name: string }>('select current_database() as name');
    const empty = `${rows[0]!.name}_empty`;
    await database.pool.query(`create database ${empty}`);
    try {
      const url = new URL(database.url);
      url.pathname = `/${empty}`;
      const here = { DATABASE_URL: url.toString() };
      const early = await folder.run(['status', '--json'], here);
      expect(early).toMatchObject({
        code: 2,
        stdout: '',
        stderr: expect.stringMatching(/pgstrata migrate/) as string,
      });
      expect(jsonOf(await folder.run(['migrate', '--json', '--dry-run'], here))).toMatchObject({
        pending: await readdir(new URL('../../migrations/committed', import.meta.url)),
      });
      const first = jsonOf(await folder.run(['migrate', '--json'], here)) as {
        applied: string[];
        total: number;
      };
      expect(first.applied.length).toBe(first.total);
      expect(first.total).toBeGreaterThan(0);
      expect(jsonOf(await folder.run(['migrate', '--json'], here))).toMatchObject({
        applied: [],
        total: first.total,
      });
      expect(jsonOf(await folder.run(['migrate', '--json', '--dry-run'], here))).toEqual({ pending: [] });
    } finally {
      await database.pool.query(`drop database ${empty} with (force)`);
    }
  });

  test('ingest gives each stream its own result, status their positions', async () => {
    const loaded = await folder.run(['ingest', '--json'], environment());
    expect(loaded.code, loaded.stderr).toBe(0);
    const rows = 16 * 2 + 29 * 3 * 2;
    expect(jsonOf(loaded)).toEqual({
      streams: ['first', 'second'].map((stream) => ({
        stream,
        end: 'complete',
        rows,
        quarantined: 0,
        batches: 1,
        blocks: 30,
        reorgs: 0,
        retries: 0,
        unmatched: null,
        dropped: 0,
      })),
    });
    await expectChain(database.pool, 'second', devnet.chain);
    expect(jsonOf(await folder.run(['ingest', 'second', '--json'], environment()))).toMatchObject({
      streams: [{ stream: 'second', end: 'nothing new' }],
    });
    const status = jsonOf(await folder.run(['status', '--json'], environment())) as {
      streams: unknown[];
      sets: { set_name: string; weeks: number; leaves: number }[];
    };
    expect(status.streams).toMatchObject([
      {
        stream: 'first',
        network: 'devnet',
        load: 'transfers',
        target: 'strata.balance_changes',
        position: 29,
        hash: devnet.chain.view().hashOf(29),
        rows,
        quarantined: 0,
      },
      { stream: 'second', position: 29, rows },
    ]);
    const changes = status.sets.find(({ set_name }) => set_name === 'balance_changes');
    expect(changes?.leaves).toBe(4 * (changes?.weeks ?? 0));
  });

  test('doctor finds everything in order, and each fault with its remedy', async () => {
    const sound = await folder.run(['doctor', '--json'], environment());
    const { findings } = jsonOf(sound) as Findings;
    expect(findings.map(({ check }) => check)).toEqual(
      expect.arrayContaining([
        'node',
        'configuration',
        'postgres',
        'schema',
        'rights',
        'clock',
        'user',
        'autovacuum',
        'connections',
        'disk',
        'streams',
        'server devnet',
      ]),
    );
    expect(findings.filter(({ state }) => state === 'fault')).toEqual([]);
    expect(sound.code).toBe(0);

    const other = await openFolder();
    await other.writePolicy({ servers: { away: { url: 'grpc://127.0.0.1:1', token: 'tok-secret-1' } } });
    const ill = await other.run(['doctor', '--json'], {
      DATABASE_URL: 'postgres://me:pass-secret-1@127.0.0.1:1/none',
    });
    await other.remove();
    const faults = (jsonOf(ill) as Findings).findings.filter(({ state }) => state === 'fault');
    expect(faults.map(({ check }) => check)).toEqual(['postgres', 'server away']);
    for (const { says, remedy } of faults) {
      expect(says).not.toBe('');
      expect(remedy).toBeTypeOf('string');
    }
    expect(ill.code).toBe(1);
    expect(ill.stdout + ill.stderr).not.toMatch(/secret/);
  });

  test('devnet says where it listens, serves, and ends on SIGINT', async () => {
    const running = folder.start([
      'devnet',
      '--json',
      '--port',
      '0',
      '--blocks',
      '5',
      '--token',
      'let-me-in',
    ]);
    const line = await until('its address', () => running.lines[0]);
    const { url } = JSON.parse(line) as { url: string };
    const client = await openFolder();
    const stream = { ...TRANSFERS, server: 'devnet' };
    await client.writePolicy({
      servers: { devnet: { url, token: '${TOKEN}' } },
      streams: { guarded: stream },
    });
    const loaded = await client.run(['ingest', '--json'], { ...environment(), TOKEN: 'let-me-in' });
    await client.remove();
    expect(jsonOf(loaded)).toMatchObject({ streams: [{ stream: 'guarded', blocks: 5 }] });
    running.child.kill('SIGINT');
    expect(await running.finished).toMatchObject({ code: 0, stdout: `${line}\n` });
  });
});

describe('without --json', () => {
  test('results are tables on stdout', async () => {
    const [status, ingest] = await Promise.all([
      folder.run(['status'], environment()),
      folder.run(['ingest', 'first'], environment()),
    ]);
    expect(status).toMatchObject({
      code: 0,
      stderr: '',
      stdout: expect.stringMatching(/stream +network[^]*first +devnet[^]*balance_changes/) as string,
    });
    // A screen of a hundred columns has room for the streams.
    for (const line of status.stdout.split('\n').slice(0, 4)) expect(line.length).toBeLessThanOrEqual(100);
    expect(ingest).toMatchObject({
      code: 0,
      stderr: '',
      stdout: expect.stringMatching(/first +nothing new/) as string,
    });
  });
});
