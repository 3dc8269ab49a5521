/** Plays block trees with forks through a real Flight stream into PostgreSQL, each reorg live, and compares every balance. */
import { randomBytes } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { dropDatabase, recreateDatabase } from '../src/db/administer.ts';
import { migrate } from '../src/db/migrate.ts';
import { createPool } from '../src/db/pool.ts';
import type { Pool } from '../src/db/query.ts';
import { startDevnet } from '../src/devnet/server.ts';
import { NOBODY, readTrees, treeChain, type BlockTree, type TreeChain } from '../src/devnet/trees.ts';
import { connectFlight } from '../src/flight/client.ts';
import { ingest, type IngestEvent, type IngestResult } from '../src/jobs/ingest.ts';
import { parseConfig } from '../src/runtime/config.ts';
import { messageOf } from '../src/runtime/errors.ts';
import { accountBytes, accountText } from '../src/warehouse/account.ts';
import { withScratchServer } from './scratch.ts';

/** Where the vectors lie beside the project. */
const DEFAULT_FILE = fileURLToPath(new URL('../../shared/data/reorg-cases.json', import.meta.url));

/** Trees played at once. */
const AT_ONCE = 3;

/** A tree takes well under a second; one that takes this long never ends. */
const LIMIT_MS = 60_000;

/** What playing a file came to. */
export interface CasesReport {
  readonly cases: number;
  /** Trees whose every balance is as expected. */
  readonly exact: number;
  readonly reorgs: number;
}

/** The settings of a tree's stream; trees are kept apart by the standard of their asset. */
const settingsOf = (url: string, stream: string) =>
  parseConfig(
    JSON.stringify({
      servers: { devnet: { url } },
      streams: {
        [stream]: {
          server: 'devnet',
          load: 'transfers',
          standard: stream,
          query: 'SELECT _block_num, timestamp, log_index, token, "from", "to", value FROM legs',
          ordinal: 'log_index',
          rules: ['to:+value', 'from:-value'],
        },
      },
    }),
    {},
  ).streams[stream]!;

/**
 * Lets blocks arrive until there is something to tell whoever has loaded the chain up to `loaded`; false when no block is
 * left. A head that is merely shorter than what is loaded cannot be told: the protocol announces blocks, not their end.
 */
const moveHead = (chain: TreeChain, loaded: string): boolean => {
  while (chain.arrive()) if (chain.commonAncestor(loaded) !== chain.view().head) return true;
  return false;
};

/** Streams one tree block by block; each block arrives when the one before is committed. */
const play = async (pool: Pool, tree: BlockTree, stream: string): Promise<IngestResult> => {
  const chain = treeChain(tree);
  const devnet = await startDevnet({ chain });
  const client = connectFlight({ url: devnet.url });
  const done = new AbortController();
  const onEvent = (event: IngestEvent): void => {
    const loaded = event.kind === 'committed' ? event.result.ranges.at(-1)?.range.hash : undefined;
    const { head, hashOf } = chain.view();
    if (loaded === hashOf(head ?? 0) && !moveHead(chain, loaded)) done.abort(new Error('all blocks arrived'));
  };
  try {
    return await ingest({
      pool,
      client,
      stream,
      config: settingsOf(devnet.url, stream),
      serverKind: 'amp',
      window: { from: null, to: null },
      follow: true,
      signal: AbortSignal.any([done.signal, AbortSignal.timeout(LIMIT_MS)]),
      now: new Date(),
      onEvent,
    });
  } finally {
    client.close();
    await devnet.stop();
  }
};

/** A line for each balance of the state that is not as expected; accounts that are not listed must have nothing. */
const compare = async (pool: Pool, tree: BlockTree, stream: string): Promise<string[]> => {
  const { rows } = await pool.query<{ account: Buffer; balance: string }>(
    `select c.account_address as account, c.balance::text as balance
       from strata.account_balances_current c join strata.assets a using (asset_id) where a.standard = $1`,
    [stream],
  );
  const found = new Map(rows.map(({ account, balance }) => [accountText(account), balance]));
  const listed = new Map(
    Object.entries(tree.expected).map(([account, balance]) => [accountText(accountBytes(account)), balance]),
  );
  const accounts = new Set([...found.keys(), ...listed.keys()]);
  if (!listed.has(NOBODY)) accounts.delete(NOBODY);
  return [...accounts].flatMap((account) => {
    const [expected, balance] = [listed.get(account) ?? '0', found.get(account) ?? '0'];
    return BigInt(expected) === BigInt(balance) ? [] : [`${account} has ${balance}, expected is ${expected}`];
  });
};

/**
 * Plays trees into a migrated database and compares the balances in account_balances_current.
 *
 * @param prefix begins the names of the streams, which must be new to the database
 * @param tell gets a line for each balance that is wrong, and for each tree that cannot be played
 */
export const playCases = async (
  pool: Pool,
  trees: readonly BlockTree[],
  prefix: string,
  tell: (line: string) => void,
): Promise<CasesReport> => {
  // Vectors carry times of their own, some long before there were chains.
  await pool.query(`update strata.partition_sets set window_start = '1900-01-01 00:00:00+00'`);
  const waiting = [...trees.entries()];
  let [exact, reorgs] = [0, 0];
  const work = async (): Promise<void> => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      const [index, tree] = next;
      const stream = `${prefix}_${index}`;
      try {
        const played = await play(pool, tree, stream);
        reorgs += played.reorgs;
        const wrong = await compare(pool, tree, stream);
        for (const line of wrong) tell(`${tree.name}: ${line}`);
        if (wrong.length === 0) exact += 1;
      } catch (thrown) {
        tell(`${tree.name}: ${messageOf(thrown)}`);
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  return { cases: trees.length, exact, reorgs };
};

const say = (text: string): void => void process.stderr.write(`${text}\n`);

/** Runs on a database of its own on the server behind `url`. */
const runOn = async (url: string, trees: readonly BlockTree[]): Promise<CasesReport> => {
  const name = `pgstrata_reorg_cases_${randomBytes(4).toString('hex')}`;
  const database = await recreateDatabase(url, name);
  try {
    await migrate({ connectionString: database });
    const pool = createPool(database);
    try {
      return await playCases(pool, trees, 'case', say);
    } finally {
      await pool.end();
    }
  } finally {
    await dropDatabase(url, name);
  }
};

const main = async (file: string): Promise<boolean> => {
  const trees = readTrees(file);
  let report: CasesReport | null = null;
  const run = async (url: string): Promise<void> => {
    report = await runOn(url, trees);
  };
  const given = process.env['TEST_DATABASE_URL'] ?? process.env['DATABASE_URL'] ?? '';
  await (given === '' ? withScratchServer(run) : run(given));
  const { cases, exact, reorgs } = report ?? { cases: trees.length, exact: 0, reorgs: 0 };
  process.stdout.write(`${JSON.stringify({ cases, exact, reorgs })}\n`);
  return exact === cases;
};

if (import.meta.main) {
  const [file = DEFAULT_FILE] = process.argv.slice(2);
  process.exitCode = await main(file).then(
    (exact) => (exact ? 0 : 1),
    (thrown: unknown) => {
      say(`reorg-cases: ${messageOf(thrown)}`);
      return 1;
    },
  );
}
