/** One history of the simulator: a chain with forks, a server and a line that misbehave, a loader that dies, and what must come of it. */
import { expect } from 'vitest';
import { asWarehouseError } from '../../src/db/errors.ts';
import { createPool } from '../../src/db/pool.ts';
import type { Pool } from '../../src/db/query.ts';
import { crashingPool } from '../balances/crash.ts';
import type { IngestEvent } from '../../src/jobs/run.ts';
import { load, type Settings } from '../jobs/loading.ts';
import { ledgerOf } from '../jobs/oracle.ts';
import { SCRIPT_TIME, SCRIPTED_TRANSFERS } from '../jobs/scripted-server.ts';
import { drawMischief, PEACE, serveChain, type Mischief, type SimulatedServer } from './mischief.ts';
import { diceOf, modelChain, type Dice, type ModelChain } from './model-chain.ts';

/** A run that takes this long waits for what never comes. */
const LIMIT_MS = 120_000;

/** Names streams whose seeds are the same: the test runs a seed as often as it likes. */
let histories = 0;

/** Which history to play. */
export interface History {
  readonly seed: number;
  /** Whether history is loaded by workers before the stream goes on by itself. */
  readonly catchUp: boolean;
  /** Whether a catch-up meets forks deeper than its buffer, or ones that come and go within it, and is given ends. */
  readonly rough?: boolean;
}

/** What a history saw. */
export interface Told {
  readonly reorgs: number;
  readonly failures: number;
  /** Partitions that workers have loaded, those that failed or were broken off, and runs that found holes to fill. */
  readonly partitions: number;
  readonly brokenPartitions: number;
  readonly holes: number;
  /** Runs that went on live behind what workers had loaded, until they were stopped. */
  readonly followed: number;
}

/** No history yet. */
export const NOTHING_TOLD: Told = {
  reorgs: 0,
  failures: 0,
  partitions: 0,
  brokenPartitions: 0,
  holes: 0,
  followed: 0,
};

/** What two histories saw together. */
export const addTold = (a: Told, b: Told): Told => ({
  reorgs: a.reorgs + b.reorgs,
  failures: a.failures + b.failures,
  partitions: a.partitions + b.partitions,
  brokenPartitions: a.brokenPartitions + b.brokenPartitions,
  holes: a.holes + b.holes,
  followed: a.followed + b.followed,
});

const ROWS = { load: 'rows', query: 'SELECT whatever the script says' } as const;

/** The three ways to load: into balance changes, into a table, into one that keeps what reorgs took. */
const settingsOf = (kind: number, dice: Dice): Settings => ({
  ...(kind < 2 ? SCRIPTED_TRANSFERS : ROWS),
  ...(kind === 2 ? { table: 'simulated' } : {}),
  ...(kind === 3 ? { table: 'simulated_kept', reorg: 'history' } : {}),
  commit_rows: [1, 7, 1000][dice(3)],
});

/** How workers share out history in one run; none reaches into the blocks that may still fork, but where forks are deep. */
const parallelOf = (deepest: number, isDeep: boolean, dice: Dice): Settings => ({
  workers: dice(5) === 0 ? 'auto' : 1 + dice(5),
  // Most by blocks: a stream that has partitions of no certain size goes on by itself where not much is missing.
  ...[
    { partitions: 1 + dice(12) },
    { target_rows: 20 + dice(100) },
    { partition_blocks: 10 + dice(60) },
    { partition_blocks: 10 + dice(60) },
  ][dice(4)],
  reorg_buffer: isDeep ? dice(deepest) : deepest + dice(40),
  stop_on_error: dice(2) === 0,
});

/** The head moves while nobody looks. */
const moveHead = (chain: ModelChain, catchUp: boolean, dice: Dice): void => {
  if (chain.blocks.length === 0) chain.grow(catchUp ? 1 + dice(400) : 1 + dice(dice(3) === 0 ? 100 : 12));
  // Far enough for what is missing at the head to be history again.
  else if (catchUp && dice(8) === 0) chain.grow(dice(5) === 0 ? 1100 : 300);
  else if (dice(3) === 0) chain.grow(1 + dice(8));
  else if (dice(5) === 0) chain.revive(dice(3));
  else chain.fork(1 + dice(dice(2) === 0 ? 64 : 5), dice(4));
  if (dice(3) === 0) chain.forget();
};

/** Pings that find out soon that a line has gone silent. */
const IMPATIENT = { pingEvery_ms: 150, pingTimeout_ms: 150, infoTimeout_ms: 1000, connectTimeout_ms: 1000 };

/** What a run does beside loading. */
interface Run {
  readonly through: Pool;
  readonly settings: Settings;
  readonly mischief: Mischief;
  readonly from: number | null;
  readonly to?: number | null;
  /** Goes on live, until the server has told all and no worker is at work. */
  readonly follow: boolean;
  /** Asked to stop when so many things have happened; null for never. */
  readonly stopAfter: number | null;
}

/** Runs one stream of a history; what it has seen, added to `told`, also where it fails. */
const runOnce = async (
  server: SimulatedServer,
  stream: string,
  run: Run,
  tell: (told: Partial<Told>) => void,
): Promise<void> => {
  const { mischief, follow, stopAfter } = run;
  const enough = new AbortController();
  const working = new Set<number>();
  let [idle, things] = [false, 0];
  const look = (): void => {
    // Behind the next turn: a worker that ends one partition begins another one at once.
    if (follow && idle) setImmediate(() => working.size === 0 && enough.abort(new Error('all is told')));
  };
  server.play(mischief, () => {
    idle = true;
    look();
  });
  const onEvent = (event: IngestEvent): void => {
    things += 1;
    if (things === stopAfter) enough.abort(new Error('enough'));
    if (event.kind === 'catch-up' && event.done === 0 && event.workers > 0 && event.rows === 0)
      tell({ holes: 1 });
    if (event.kind !== 'partition') return;
    if (event.state === 'loading') working.add(event.worker);
    else working.delete(event.worker);
    if (event.state === 'loaded') tell({ partitions: 1 });
    if (event.state === 'failed' || event.state === 'stopped') tell({ brokenPartitions: 1 });
    look();
  };
  const limit = AbortSignal.timeout(LIMIT_MS);
  const { end, reorgs } = await load({
    pool: run.through,
    url: server.url,
    stream,
    settings: run.settings,
    follow,
    signal: AbortSignal.any([limit, enough.signal]),
    onEvent,
    ...(run.from === null ? {} : { from: run.from }),
    ...(run.to === null || run.to === undefined ? {} : { to: run.to }),
    ...(mischief.line.after?.what === 'silence' ? { flight: IMPATIENT } : {}),
  });
  expect(limit.aborted, 'a run that waits for what never comes').toBe(false);
  if (!enough.signal.aborted) expect(end).not.toBe('stopped');
  tell({ reorgs, ...(follow ? { followed: 1 } : {}) });
};

/** Tries again after a deadlock, as a supervised stream does. */
const afterDeadlocks = async (most: number, work: () => Promise<void>): Promise<void> => {
  for (let left = most; ; left -= 1) {
    try {
      return await work();
    } catch (thrown) {
      if (left === 0 || asWarehouseError(thrown).detail.sqlstate !== '40P01') throw thrown;
    }
  }
};

/**
 * Plays a history, and asserts at its end that the tables are those of one clean pass over the final chain.
 *
 * @param deadlocks that one run of a stream may meet: none on one server
 */
export const playHistory = async (
  pool: Pool,
  url: string,
  { seed, catchUp, rough = false }: History,
  deadlocks = 0,
): Promise<Told> => {
  const dice = diceOf(seed);
  const stream = `simulated_${(histories += 1)}`;
  const deepest = catchUp ? [5, 20, 64][dice(3)]! : Infinity;
  const chain = modelChain(stream, dice, deepest);
  const kind = dice(4);
  const settings = settingsOf(kind, dice);
  const isDeep = rough && dice(2) === 0;
  // One that comes and goes behind the buffer, between a question and its answer, leaves no trace.
  const server = await serveChain(chain, dice, rough && !isDeep);
  let told = NOTHING_TOLD;
  const tell = (more: Partial<Told>): void => void (told = addTold(told, { ...NOTHING_TOLD, ...more }));
  /** The part of a run that only workers have. */
  const parallelRun = (): Pick<Run, 'settings' | 'from' | 'follow' | 'stopAfter'> =>
    catchUp
      ? {
          settings: { ...settings, parallel: parallelOf(deepest, isDeep, dice) },
          from: [0, 0, null, dice(150)][dice(4)] ?? null,
          follow: dice(3) === 0,
          stopAfter: dice(4) === 0 ? 1 + dice(40) : null,
        }
      : { settings, from: null, follow: false, stopAfter: null };
  const play = (run: Run): Promise<void> =>
    afterDeadlocks(deadlocks, () => runOnce(server, stream, run, tell));
  const misbehave = async (): Promise<void> => {
    const crash = { at: 1 + dice(catchUp ? 60 : 14), sent: dice(2) === 0 };
    // The first connection holds the lock of the run; a loader that dies, dies in one of its transactions, and with
    // connections of its own: what runs beside must not find its lock's session gone.
    const own = dice(3) === 0 ? createPool(url) : null;
    const through = own === null ? pool : crashingPool(own, crash, 1 + dice(4));
    const drawn = parallelRun();
    const to = rough && dice(3) === 0 ? (drawn.from ?? 0) + 1 + dice(chain.blocks.length) : null;
    const run = { through, mischief: drawMischief(dice), ...drawn, to };
    await play(run).catch((thrown: unknown) => {
      tell({ failures: 1 });
      const error = asWarehouseError(thrown);
      if (!['connection', 'protocol'].includes(error.kind)) throw thrown;
    });
    await own?.end();
  };
  const peace = { through: pool, mischief: PEACE, stopAfter: null };
  try {
    for (let round = 2 + dice(3); round > 0; round -= 1) {
      moveHead(chain, catchUp, dice);
      await misbehave();
    }
    // Whoever began in the middle has the rest to do; what is left of it is loaded beside the live stream, or by the run behind.
    const from = catchUp ? 0 : null;
    if (catchUp && dice(2) === 0)
      await play({ ...peace, ...parallelRun(), from, follow: true, stopAfter: null });
    await play({ ...peace, ...parallelRun(), from, follow: false, stopAfter: null });
    await expectCleanPass(pool, stream, chain, kind);
  } finally {
    await server.stop();
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
