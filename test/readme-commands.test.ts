/** Every pgstrata command in a shell block of README.md and docs/ does what it is shown for, in the order of the pages. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createChain, type SimulatedChain } from '../src/devnet/chain.ts';
import { startDevnet } from '../src/devnet/server.ts';
import type { Devnet } from '../src/devnet/server.ts';
import { openFolder, type Folder } from './cli/command.ts';
import { useDatabase } from './database.ts';
import { until } from './db/until.ts';
import { ledgerOf } from './jobs/oracle.ts';
import { policies, shellLines } from './pages.ts';
import { askPage } from './server/asking.ts';

const database = useDatabase();
let folder: Folder;
let devnet: Devnet<SimulatedChain>;
let blocks = 50;

/** The stream of the first policy file shown. */
const STREAM = 'erc20_transfers';

/** What the shown account and asset are called; the chain's busiest ones take their names. */
const SHOWN_ACCOUNT = '0x418de5c2e64f34d612001ab9deffd8ec7d569c79';
const SHOWN_SYMBOL = 'USDX';

/** Commands whose answer is also an exit code: on a server for tests, doctor has something to say. */
const MAY_SAY_NO = /^(?:doctor|status)\b/;

const commands = [...new Set(shellLines())]
  .filter((line) => line.startsWith('pgstrata '))
  .map((line) => line.replace(/^pgstrata /, ''));

beforeAll(async () => {
  devnet = await startDevnet({ chain: createChain({ blocks, transfersPerBlock: 5 }) });
  folder = await openFolder();
  await writeFile(
    join(folder.path, 'exchanges.csv'),
    `address,name,founded\n${SHOWN_ACCOUNT},one,2017-07-01\n`,
  );
  await writeFile(
    join(folder.path, 'prices.csv'),
    `asset,time,usd\n${SHOWN_SYMBOL},2026-01-04T00:00:00Z,1.01\n`,
  );
  await database.pool.query(`create table public.account_balances
    (account_address bytea not null, "timestamp" timestamptz not null, balance numeric, primary key (account_address, "timestamp"))`);
}, 60_000);
afterAll(async () => {
  await folder.remove();
  await devnet.stop();
});

/** What a reader has when a command is shown, and the command does not make itself. */
const prepare = async (command: string): Promise<void> => {
  if (command === 'doctor') {
    const policy = (policies()[0]?.text ?? '').replace('grpc://127.0.0.1:1602', devnet.url);
    await folder.writePolicy(policy);
  }
  if (command.includes(SHOWN_SYMBOL))
    await database.pool.query(
      'update strata.assets set symbol = $1 where asset_id = (select min(asset_id) from strata.assets)',
      [SHOWN_SYMBOL],
    );
  if (command.startsWith('partitions undo'))
    expect(
      await folder.run(['maintain', 'consolidate', '--set', 'balance_changes'], environment()),
    ).toMatchObject({
      code: 0,
    });
};

const environment = (): NodeJS.ProcessEnv => ({ DATABASE_URL: database.url });

/** Starts a command that does not end by itself, waits until it does what it is for, and stops it. */
const startAndStop = async (
  words: readonly string[],
  atWork: (lines: readonly string[]) => Promise<unknown>,
): Promise<void> => {
  const { child, finished, lines } = folder.start(words, environment());
  try {
    await Promise.race([atWork(lines), finished]);
  } finally {
    child.kill('SIGTERM');
  }
  const { code, stderr } = await finished;
  expect(code, stderr).toBe(0);
};

/** The chain grows, and its new block is in the ledger: history is loaded, and the stream is live. */
const followed = async (): Promise<void> => {
  devnet.chain.advance(1);
  blocks += 1;
  const last = async (): Promise<number | undefined> => (await ledgerOf(database.pool, STREAM)).at(-1)?.end;
  await until('the new block', async () => (await last()) === blocks - 1);
};

/** The page says where it is, and opens there. */
const opened = (lines: readonly string[]): Promise<unknown> =>
  until('the page', async () => {
    const [url] = lines.flatMap((line) => /http:\S+/.exec(line) ?? []);
    return url !== undefined && (await askPage(url, '/')).status === 200;
  });

describe('commands run', () => {
  it.each(commands)('%s', async (command) => {
    await prepare(command);
    const words = command.split(/\s+/);
    if (command.endsWith('--follow')) return startAndStop(words, followed);
    if (command === 'serve') return startAndStop([...words, '--port', '0'], opened);
    const { code, stdout, stderr } = await folder.run(words, environment());
    if (MAY_SAY_NO.test(command)) expect([0, 1]).toContain(code);
    else expect(code, stderr).toBe(0);
    expect(`${stdout}${stderr}`).not.toBe('');
  });
});
