/** `pgstrata labels` as a process: files in, JSON out, misuse and refusals by exit code. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { useDatabase } from '../database.ts';
import { LOGS } from '../jobs/loading.ts';
import { jsonOf, openFolder } from './command.ts';
import type { Finished, Folder } from './command.ts';

const database = useDatabase();
let folder: Folder;
const run = (...words: readonly string[]): Promise<Finished> =>
  folder.run(['labels', ...words], { DATABASE_URL: database.url });

beforeAll(async () => {
  folder = await openFolder();
  await folder.writePolicy({
    servers: { devnet: { url: 'grpc://127.0.0.1:1602' } },
    streams: {
      logs: { ...LOGS, server: 'devnet', table: 'logs', labels: [{ name: 'contracts', on: 'address' }] },
    },
  });
  await writeFile(join(folder.path, 'contracts.csv'), 'address,name,since\n0x01,one,2024-01-01\n0x02,two,\n');
  await writeFile(join(folder.path, 'twice.csv'), 'address,name\n0x01,one\n0x01,two\n');
});
afterAll(() => folder.remove());

describe('labels', () => {
  test('are added, listed, joined and removed', async () => {
    expect(
      jsonOf(await run('add', 'contracts', 'contracts.csv', '--type', 'since=text', '--json')),
    ).toMatchObject({
      rows: 2,
      columns: [
        { name: 'name', type: 'text' },
        { name: 'since', type: 'text' },
      ],
    });
    expect(await run('add', 'others', 'twice.csv', '--on-duplicate', 'last')).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/strata.labels_others: 1 labels\n1 rows left out/) as string,
    });
    const joined = await run(
      'join',
      'others',
      '--table',
      'strata.balances_current',
      '--prefix',
      'l_',
      '--count',
    );
    expect(joined.stdout).toBe('strata.balances_current_with_others has l_name; 0 of 0 rows have no label\n');
    expect(jsonOf(await run('list', '--json'))).toMatchObject({
      labels: [
        { name: 'contracts', rows: 2, views: [], file: 'contracts.csv' },
        { name: 'others', rows: 1, duplicates: 1, views: ['strata.balances_current_with_others'] },
      ],
    });
    const [shown, contracts, others] = await Promise.all([
      run('list'),
      run('remove', 'contracts'),
      run('remove', 'others'),
    ]);
    expect(shown.stdout).toContain('name text, since text');
    expect(contracts).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/joined by logs[^]*out of `labels`/) as string,
    });
    expect(others).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/read by strata.balances_current_with_others[^]*drop view/) as string,
    });
    await database.pool.query('drop view strata.balances_current_with_others');
    expect(jsonOf(await run('remove', 'others', '--json'))).toEqual({ removed: 'others' });
  });

  test('say what is wrong with a file or a command line', async () => {
    const [twice, absent, type, both, stream, none] = await Promise.all([
      run('add', 'twice', 'twice.csv'),
      run('add', 'absent', 'absent.csv'),
      run('add', 'typed', 'twice.csv', '--type', 'name=float'),
      run('join', 'contracts', '--table', 'a', '--stream', 'logs'),
      run('join', 'contracts', '--stream', 'nobody'),
      run(),
    ]);
    expect(twice).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/twice.csv, line 3: [^]*lines 2, 3\n/) as string,
    });
    expect(absent.code).toBe(2);
    expect(absent.stderr).toMatch(/absent.csv/);
    expect(type).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('must look like column=type') as string,
    });
    expect(both).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('either --stream or --table') as string,
    });
    expect(stream).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('The configuration has logs') as string,
    });
    expect(none.code).toBe(2);
  });

  test('have help with an example', async () => {
    const { code, stdout } = await run('join', '--help');
    expect(code).toBe(0);
    expect(stdout).toMatch(/Example:\n {2}pgstrata labels/);
    expect(stdout).toContain('--json');
  });
});
