/** One history of the simulator: a chain with forks, a server and a line that misbehave, a loader that dies, and what must come of it. */
import { expect } from 'vitest';
import { asWarehouseError } from '../../src/db/errors.ts';
import { createPool } from '../../src/db/pool.ts';
import type { Pool } from '../../src/db/query.ts';
import { crashingPool } from '../balances/crash.ts';
import { load, type Settings } from '../jobs/loading.ts';
import { ledgerOf } from '../jobs/oracle.ts';
import { SCRIPT_TIME, SCRIPTED_TRANSFERS } from '../jobs/scripted-server.ts';
import { drawMischief, PEACE, serveChain } from './mischief.ts';
import { diceOf, modelChain, type Dice, type ModelChain } from './model-chain.ts';

/** A run that takes this long waits for what never comes. */
const LIMIT_MS = 60_000;

/** Names streams whose seeds are the same: the test runs a seed as often as it likes. */
let histories = 0;

/** What a history saw. */
export interface Told {
  readonly reorgs: number;
  readonly failures: number;
}

const ROWS = { load: 'rows', query: 'SELECT whatever the script says' } as const;

/** The three ways to load: into balance changes, into a table, into one that keeps what reorgs took. */
const settingsOf = (kind: number, dice: Dice): Settings => ({
  ...(kind < 2 ? SCRIPTED_TRANSFERS : ROWS),
  ...(kind === 2 ? { table: 'simulated' } : {}),
  ...(kind === 3 ? { table: 'simulated_kept', reorg: 'history' } : {}),
  commit_rows: [1, 7, 1000][dice(3)],
});

/** The head moves while nobody looks. */
const moveHead = (chain: ModelChain, dice: Dice): void => {
  if (chain.blocks.length === 0) chain.grow(1 + dice(dice(3) === 0 ? 100 : 12));
  else if (dice(3) === 0) chain.grow(1 + dice(8));
  else if (dice(5) === 0) chain.revive(dice(3));
  else chain.fork(1 + dice(dice(2) === 0 ? 64 : 5), dice(4));
  if (dice(3) === 0) chain.forget();
};

/** Plays the history of a seed, and asserts at its end that the tables are those of one clean pass over the final chain. */
export const playHistory = async (pool: Pool, url: string, seed: number): Promise<Told> => {
  const dice = diceOf(seed);
  const stream = `simulated_${(histories += 1)}`;
  const chain = modelChain(stream, dice);
  const kind = dice(4);
  const settings = settingsOf(kind, dice);
  const server = await serveChain(chain, dice);
  const told = { reorgs: 0, failures: 0 };
  const run = async (through: Pool): Promise<void> => {
    const signal = AbortSignal.timeout(LIMIT_MS);
    const { end, reorgs } = await load({ pool: through, url: server.url, stream, settings, signal });
    expect(end, 'a run that waits for what never comes').not.toBe('stopped');
    told.reorgs += reorgs;
  };
  try {
    for (let round = 2 + dice(3); round > 0; round -= 1) {
      moveHead(chain, dice);
      server.play(drawMischief(dice));
      const crash = { at: 1 + dice(14), sent: dice(2) === 0 };
      // The first connection holds the lock of the run; a loader that dies, dies in one of its transactions, and with
      // connections of its own: what runs beside must not find its lock's session gone.
      const own = dice(3) === 0 ? createPool(url) : null;
      await run(own === null ? pool : crashingPool(own, crash, 1 + dice(4))).catch((thrown: unknown) => {
        told.failures += 1;
        const error = asWarehouseError(thrown);
        if (!['connection', 'protocol'].includes(error.kind)) throw thrown;
      });
      await own?.end();
    }
    server.play(PEACE);
    await run(pool);
    await expectCleanPass(pool, stream, chain, kind);
  } finally {
    server.stop();
  }
  return told;
};

/** What the final chain makes: a line for each balance change, or for each row. */
const linesOf = ({ blocks }: ModelChain, kind: number): string[] =>
  blocks.flatMap(({ number, transfers }) =>
    transfers.flatMap(({ from, to, value }, index) =>
      kind >= 2
        ? [`${number} ${from} ${to} ${value}`]
        : [`${number} ${2 * index} ${to} ${value}`, `${number} ${2 * index + 1} ${from} -${value}`],
    ),
  );

const ACCOUNT = (column: string): string => `get_byte(${column}, 19)`;

/** The same from the tables. */
const storedLines = async (pool: Pool, stream: string, kind: number): Promise<string[]> => {
  const table = kind === 2 ? 'public.simulated' : 'public.simulated_kept_current';
  const query =
    kind < 2
      ? `select concat_ws(' ', block_num, ordinal, ${ACCOUNT('account_address')}, delta) as line
           from strata.balance_changes
          where source_id = (select source_id from strata.sources where stream = $1)
            and extract(epoch from block_time) = block_num + ${SCRIPT_TIME}`
      : `select concat_ws(' ', _block_num, ${ACCOUNT('"from"')}, ${ACCOUNT('"to"')}, value) as line
           from ${table} where network = $1`;
  const { rows } = await pool.query<{ line: string }>(query, [stream]);
  return rows.map(({ line }) => line);
};

const balancesOf = ({ blocks }: ModelChain): string[] => {
  const sums = new Map<number, number>();
  const add = (account: number, delta: number): unknown =>
    sums.set(account, (sums.get(account) ?? 0) + delta);
  for (const { from = 0, to = 0, value } of blocks.flatMap(({ transfers }) => transfers)) {
    add(to, Number(value));
    add(from, -Number(value));
  }
  return [...sums].map(([account, balance]) => `${account} ${balance}`);
};

const storedBalances = async (pool: Pool, network: string): Promise<string[]> => {
  const { rows } = await pool.query<{ line: string }>(
    `select concat_ws(' ', ${ACCOUNT('account_address')}, balance) as line from strata.account_balances_current
      where asset_id = (select asset_id from strata.assets where network = $1)`,
    [network],
  );
  return rows.map(({ line }) => line);
};

const expectCleanPass = async (
  pool: Pool,
  stream: string,
  chain: ModelChain,
  kind: number,
): Promise<void> => {
  const [lines, ledger] = await Promise.all([
    storedLines(pool, stream, kind),
    ledgerOf(pool, stream, stream),
  ]);
  expect(lines.toSorted()).toEqual(linesOf(chain, kind).toSorted());
  let next = 0;
  for (const { start, end, hash, prev } of ledger) {
    expect(start, 'start of the next ledger row').toBe(next);
    expect([chain.blocks[end]?.hash, null]).toContain(hash);
    expect([chain.blocks[start]?.parent, null]).toContain(prev);
    next = end + 1;
  }
  expect(next).toBe(chain.blocks.length);
  expect(ledger.reduce((rows, row) => rows + row.rows, 0)).toBe(lines.length);
  if (kind < 2) expect((await storedBalances(pool, stream)).toSorted()).toEqual(balancesOf(chain).toSorted());
};
