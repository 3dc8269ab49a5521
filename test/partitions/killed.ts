/** Runs a process that kills itself at a step, and waits until PostgreSQL has noticed. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { expect } from 'vitest';
import type { Pool } from '../../src/db/query.ts';
import { until } from '../db/until.ts';

/** Runs `script` with the database's URL and `words`; returns when it is dead and its sessions have ended. */
export const dieIn = async (
  { pool, url }: { readonly pool: Pool; readonly url: string },
  script: URL,
  words: readonly string[],
): Promise<void> => {
  const child = spawn(process.execPath, [fileURLToPath(script), url, ...words], {
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  const [, signal] = (await once(child, 'exit')) as [number | null, NodeJS.Signals | null];
  expect(signal).toBe('SIGKILL');
  await until('the sessions of the dead to end', async () => {
    const { rows } = await pool.query(
      `select from pg_stat_activity where application_name = 'to be killed' and datname = current_database()`,
    );
    return rows.length === 0;
  });
};
