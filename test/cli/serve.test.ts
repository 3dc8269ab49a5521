/** `pgstrata serve` as a process: says where it listens, keeps its token to itself, and ends well when asked to. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { useDatabase } from '../database.ts';
import { askPage } from '../server/asking.ts';
import { jsonOf, openFolder } from './command.ts';

const database = useDatabase();
const TOKEN = '5f2c7d0e9b1a4c638877';

test('serve says where, shows its token to nobody, and ends on SIGTERM', async () => {
  const folder = await openFolder();
  try {
    await writeFile(join(folder.path, 'token'), `${TOKEN}\n`);
    const said = Promise.withResolvers<string>();
    const running = folder.start(
      ['serve', '--json', '--port', '0', '--token-file', 'token'],
      { DATABASE_URL: database.url, PGSTRATA_LOG: 'debug' },
      (line) => {
        if (line.startsWith('{"url"')) said.resolve(line); // the log says things too
      },
    );
    void running.finished.then(() => said.resolve('{}'));
    const { url = '' } = JSON.parse(await said.promise) as { url?: string };
    const headers = { authorization: `Bearer ${TOKEN}` };
    expect((await askPage(url, '/api/assets')).status).toBe(401);
    expect((await askPage(url, '/api/assets', { headers })).text).toBe('{"assets":[]}');
    running.child.kill('SIGTERM');
    const finished = await running.finished;
    expect(finished.code, finished.stderr).toBe(0);
    expect(jsonOf(finished)).toEqual({ url, role: null });
    expect(finished.stdout + finished.stderr).not.toContain(TOKEN);
  } finally {
    await folder.remove();
  }
});
