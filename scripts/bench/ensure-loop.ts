/** A process of its own that reads or writes on the root without a pause until its stdin ends, then says how long it was held up. */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { createPool } from '../../src/db/pool.ts';

/** What a loop saw. */
export interface Seen {
  readonly longest_ms: number;
  readonly statements: number;
}

/** A running loop. */
export interface Loop {
  /** Ends it. */
  stop(): Promise<Seen>;
}

/** In the present week: a look-up of one key that never changes, a row of another. */
const STATEMENTS = {
  reader: `select count(*), sum(delta) from strata.balance_changes
    where account_address = '\\x0102' and block_time >= '2026-01-05' and block_time < '2026-01-08' and $1::int >= 0`,
  writer: `insert into strata.balance_changes values (int4send($1::int), 1, '2026-01-06', $1::int, 0, 1, 1)`,
} as const;

/** Starts a loop; it has its connection, and its caches filled, when this returns. */
export const startLoop = async (url: string, who: keyof typeof STATEMENTS): Promise<Loop> => {
  const child = spawn(process.execPath, [fileURLToPath(import.meta.url), who], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { ...process.env, DATABASE_URL: url },
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  await lines.next();
  return {
    stop: async () => {
      child.stdin.end();
      const { value } = (await lines.next()) as { value: string };
      return JSON.parse(value) as Seen;
    },
  };
};

const run = async (who: keyof typeof STATEMENTS): Promise<void> => {
  const pool = createPool(process.env['DATABASE_URL'] ?? '', { max: 1 });
  const client = await pool.connect();
  let over = false;
  process.stdin.resume().once('end', () => {
    over = true;
  });
  // The first statement fills the session's caches and does not count.
  await client.query(STATEMENTS[who], [0]);
  process.stdout.write('ready\n');
  let longest_ms = 0;
  let statements = 0;
  do {
    const began = performance.now();
    await client.query(STATEMENTS[who], [statements + 1]);
    longest_ms = Math.max(longest_ms, performance.now() - began);
    statements++;
  } while (!over);
  client.release();
  await pool.end();
  process.stdout.write(`${JSON.stringify({ longest_ms, statements })}\n`);
};

if (import.meta.main) await run(process.argv[2] === 'writer' ? 'writer' : 'reader');
