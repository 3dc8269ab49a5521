/** docs/walkthrough keeps its word: every statement gives what is written behind it. */
import { readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { expect, test } from 'vitest';
import { renderWalkthrough, walkthroughFiles } from '../../scripts/walkthrough.ts';
import { useDatabase } from '../database.ts';

const database = useDatabase();

test('docs/walkthrough gives what it says, or `npm run walkthrough` has to be run', async () => {
  const client = await database.pool.connect();
  try {
    const files = walkthroughFiles();
    expect(files.length).toBeGreaterThan(5);
    for (const file of files) {
      const text = await readFile(file, 'utf8');
      expect(`${basename(file)}\n${await renderWalkthrough(client, text)}`).toBe(
        `${basename(file)}\n${text}`,
      );
    }
  } finally {
    client.release(true);
  }
});
