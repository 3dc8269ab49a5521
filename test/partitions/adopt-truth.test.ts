/** The truth test of adoption: eight writers go on while their table is adopted, undone and adopted again; not one row differs. */
import pg from 'pg';
import { expect, it } from 'vitest';
import { sqlstateOf } from '../../src/db/errors.ts';
import { createPool } from '../../src/db/pool.ts';
import type { Pool } from '../../src/db/query.ts';
import { applyAdopt, type AdoptEvent } from '../../src/warehouse/partitions/adopt/apply.ts';
import { planAdopt } from '../../src/warehouse/partitions/adopt/plan.ts';
import { applyUndoAdopt, planUndoAdopt } from '../../src/warehouse/partitions/adopt/undo.ts';
import { useDatabase } from '../database.ts';
import { limitFor, randomRuns, seed } from '../seed.ts';
import { BALANCES, expectNoAdoptionLeft, fillBalances } from './adopt.ts';
import { BALANCES_REQUEST, BALANCES_SET, PRESENT } from './adopt-settings.ts';
import { QUICK } from './settings.ts';
import { diceOf } from './writers.ts';

const database = useDatabase();
const TRANSACTIONS = randomRuns(4_000);
const WRITERS = 8;
const READERS = 2;
const ACCOUNTS = 40;
const HOURS = 24 * 24;
const FIRST_MS = Date.parse('2024-01-15T00:00:00Z');
/** A time that has no week yet when the table is adopted first. */
const AHEAD_MS = Date.parse('2024-04-10T00:00:00Z');

interface Traffic {
  transactions: number;
  refused: Map<string, number>;
  /** Longest transaction of a writer while tables change places, milliseconds. */
  stalled_ms: number;
  swapping: boolean;
}

/** Refusals that a writer answers by trying again: a held table that it had looked up, a key that is taken, a deadlock, no week. */
const EXPECTED = new Set(['55000', '23505', '40P01', '40001', '23514']);

const timed = async <T>(traffic: Traffic, work: () => Promise<T>): Promise<T> => {
  const before = traffic.swapping;
  const start = performance.now();
  const result = await work();
  if (before || traffic.swapping)
    traffic.stalled_ms = Math.max(traffic.stalled_ms, performance.now() - start);
  return result;
};

/** One change, as SQL on any table that can hold it, and the turns of the keys that it touches. */
const changeOf = (
  dice: (below: number) => number,
): { readonly sql: (table: string) => string; readonly turns: number[] } => {
  const key = (): {
    readonly values: string;
    readonly where: string;
    readonly time: string;
    readonly turn: number;
    readonly account: number;
  } => {
    const account = dice(ACCOUNTS);
    const slot = dice(200) === 0 ? HOURS : dice(HOURS);
    const time = `timestamptz '${new Date(slot === HOURS ? AHEAD_MS : FIRST_MS + slot * 3_600_000).toISOString()}'`;
    return {
      values: `${time}, 'rdx1' || md5('${account}')`,
      where: `"timestamp" = ${time} and account_address = 'rdx1' || md5('${account}') and activity_id = 'w'`,
      time,
      account,
      turn: account * (HOURS + 1) + slot,
    };
  };
  const one = key();
  const other = key();
  const amount = dice(1000);
  const kind = dice(10);
  const sql = (table: string): string => {
    if (kind < 4)
      return `insert into ${table} as b values (${one.values}, ${amount}, 'w', '{"a": 1}') on conflict (account_address, "timestamp", activity_id) do update set usd_value = b.usd_value + excluded.usd_value`;
    if (kind < 6)
      return `update ${table} set usd_value = ${amount} where account_address = 'rdx1' || md5('${one.account}') and "timestamp" = ${one.time}`;
    if (kind < 8) return `delete from ${table} where ${one.where}`;
    return `update ${table} set "timestamp" = ${other.time} where ${one.where}`;
  };
  const moved = one.account * (HOURS + 1) + (other.turn % (HOURS + 1));
  return { sql, turns: [...new Set([one.turn, moved])].toSorted((a, b) => a - b) };
};

const runWriter = async (start: number, traffic: Traffic, stop: AbortSignal): Promise<void> => {
  const dice = diceOf(start);
  const client = new pg.Client({ connectionString: database.url, application_name: 'writer' });
  client.on('error', () => undefined); // the statement that it breaks says so
  await client.connect();
  while (!stop.aborted) {
    const change = changeOf(dice);
    const table = dice(4) === 0 ? 'public.seen' : 'public.account_balances';
    const viaView = change.sql('x').startsWith('insert') ? 'public.account_balances' : table;
    const locks = change.turns.map((turn) => `select pg_advisory_xact_lock(1, ${turn})`);
    try {
      await timed(traffic, () =>
        client.query(
          ['begin', ...locks, change.sql(viaView), change.sql('public.truth'), 'commit'].join('; '),
        ),
      );
      traffic.transactions++;
    } catch (thrown) {
      const state = sqlstateOf(thrown) ?? '';
      if (!EXPECTED.has(state)) throw thrown;
      traffic.refused.set(state, (traffic.refused.get(state) ?? 0) + 1);
      await client.query('rollback');
    }
  }
  await client.end();
};

const runReader = async (traffic: Traffic, stop: AbortSignal): Promise<void> => {
  const client = new pg.Client({ connectionString: database.url, application_name: 'reader' });
  client.on('error', () => undefined);
  await client.connect();
  const sum = (table: string): string => `(select concat(count(*), ':', sum(usd_value)) from ${table})`;
  while (!stop.aborted) {
    const { rows } = await client.query<{ same: boolean; direct: string; seen: string; truth: string }>({
      name: 'compare',
      text: `select s.*, s.direct = s.truth and s.seen = s.truth as same from (select ${sum('public.account_balances')} as direct, ${sum('public.seen')} as seen, ${sum('public.truth')} as truth) s`,
    });
    if (rows[0]?.same !== true) throw new Error(`a reader saw ${JSON.stringify(rows[0])}`);
  }
  await client.end();
};

/** Adopts and undoes until there were enough transactions, and ends adopted. */
const maintain = async (pool: Pool, traffic: Traffic, stop: AbortSignal): Promise<void> => {
  const truncated: Promise<string | undefined>[] = [];
  const onEvent = ({ kind, step }: AdoptEvent): void => {
    traffic.swapping = kind === 'step' && step.startsWith('swap ');
    if (kind === 'done' && step.startsWith('capture ') && truncated.length === 0)
      truncated.push(pool.query('truncate public.account_balances').then(() => 'truncated', sqlstateOf));
  };
  const options = { patience: QUICK, onEvent };
  const adopt = async (): Promise<void> => {
    await applyAdopt(pool, await planAdopt(pool, BALANCES_REQUEST, { now: PRESENT }), options);
  };
  await adopt();
  do {
    stop.throwIfAborted();
    await applyUndoAdopt(pool, await planUndoAdopt(pool, BALANCES_SET), options);
    await adopt();
  } while (traffic.transactions < TRANSACTIONS);
  // Refused by the guard, or before it was asked, as the one to give way to writers it had crossed.
  expect(['55006', '40P01']).toContain(await truncated[0]);
};

const differences = async (pool: Pool): Promise<number> => {
  const { rows } = await pool.query<{ n: number }>(
    `select count(*) as n from ((table public.account_balances except all table public.truth) union all (table public.truth except all table public.account_balances)) d`,
  );
  return rows[0]?.n ?? -1;
};

it(
  `loses and makes up nothing over ${TRANSACTIONS} transactions`,
  { timeout: limitFor(TRANSACTIONS, 20) },
  async () => {
    const pool = createPool(database.url, { max: 8, applicationName: 'manager' });
    await pool.query(BALANCES);
    await fillBalances(pool, 4000);
    await pool.query(
      'create table public.truth (like public.account_balances including all); insert into public.truth table public.account_balances',
    );
    await pool.query('create view public.seen as select * from public.account_balances');
    const traffic: Traffic = { transactions: 0, refused: new Map(), stalled_ms: 0, swapping: false };
    const stop = new AbortController();
    const failed = (thrown: unknown): never => {
      stop.abort(thrown);
      throw thrown;
    };
    const ended = Promise.allSettled([
      ...Array.from({ length: WRITERS }, (_unused, n) =>
        runWriter(seed() + n, traffic, stop.signal).catch(failed),
      ),
      ...Array.from({ length: READERS }, () => runReader(traffic, stop.signal).catch(failed)),
    ]);
    const maintained = await maintain(pool, traffic, stop.signal).catch((thrown: unknown) => thrown);
    stop.abort();
    // What broke the traffic comes first: it is what broke the maintenance, too.
    for (const end of await ended) if (end.status === 'rejected') throw end.reason;
    if (maintained !== undefined) throw maintained;
    expect(await differences(pool)).toBe(0);
    await expectNoAdoptionLeft(pool);
    await applyUndoAdopt(pool, await planUndoAdopt(pool, BALANCES_SET), { patience: QUICK });
    expect(await differences(pool)).toBe(0);
    await expectNoAdoptionLeft(pool);
    const { rows } = await pool.query<{ locked: string }>(
      `select string_agg((detail ->> 'locked_ms') || '/' || (detail ->> 'locked_back_ms'), ' ') as locked from strata.adoptions`,
    );
    console.info(
      `truth: ${traffic.transactions} transactions, refused ${JSON.stringify(Object.fromEntries(traffic.refused))}, longest write at an exchange ${traffic.stalled_ms.toFixed(0)} ms, locked ${rows[0]?.locked} ms, PGSTRATA_SEED=${seed()}`,
    );
    await pool.end();
  },
);
