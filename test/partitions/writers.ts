/** Writers and readers that go on while weeks are rebuilt under them; each change is made in a truth table as well, in the same transaction. */
import pg from 'pg';
import { sqlstateOf } from '../../src/db/errors.ts';
import { weekAt } from './settings.ts';

/** A repeatable source of integers below a limit: mulberry32. */
export const diceOf = (start: number): ((below: number) => number) => {
  let state = start | 0;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
};

export const TRUTH = `create table strata.truth (like strata.balance_changes including all)`;
export const TRUTH_WEEKS = 4;
const ACCOUNTS = 61;
const SLOTS = 24;

/** What traffic saw. */
export interface Traffic {
  transactions: number;
  reads: number;
  /** Transactions that were refused and made again: the leaf was moved, two rows met, a deadlock. */
  refused: Map<string, number>;
  /** Longest statement that touched only weeks that nobody was working on, milliseconds. */
  longestElsewhere_ms: number;
  /** Week at work, as its number; null between two. */
  busy: number | null;
}

export const newTraffic = (): Traffic => ({
  transactions: 0,
  reads: 0,
  refused: new Map(),
  longestElsewhere_ms: 0,
  busy: null,
});

type Dice = (below: number) => number;

const timed = async <T>(traffic: Traffic, week: number, work: () => Promise<T>): Promise<T> => {
  const before = traffic.busy;
  const start = performance.now();
  const result = await work();
  if (before !== null && before !== week && traffic.busy === before)
    traffic.longestElsewhere_ms = Math.max(traffic.longestElsewhere_ms, performance.now() - start);
  return result;
};

/** Refusals that a writer answers by trying again: moved leaf, held leaf, unique key, deadlock, a row that left for another week. */
const EXPECTED = new Set(['42P01', '23505', '40P01', '40001', '55000']);

interface Key {
  readonly account: string;
  readonly asset: number;
  readonly time: string;
  readonly slot: number;
  /** Two writers of one key take turns: a DELETE that finds nothing in one table must find nothing in the other. */
  readonly turn: number;
}

const keyIn = (week: number, dice: Dice): Key => {
  const slot = dice(SLOTS);
  const account = dice(ACCOUNTS);
  return {
    account: `decode(md5('${account}') || '00000000', 'hex')`,
    asset: account % 3,
    time: `timestamptz '${new Date(weekAt(week).getTime() + slot * 7 * 3_600_000).toISOString()}'`,
    slot,
    turn: (week * ACCOUNTS + account) * SLOTS + slot,
  };
};

const where = ({ account, asset, time, slot }: Key): string =>
  `b.account_address = ${account} and b.asset_id = ${asset} and b.block_time = ${time} and b.block_num = ${slot} and b.ordinal = 0 and b.source_id = 1`;

/** One change, as SQL on any table that can hold it; with its columns, which a consolidated table has in another order. */
const changeOf = (key: Key, other: Key, viaRoot: boolean, dice: Dice): ((table: string) => string) => {
  const amount = dice(1000) - 500;
  switch (dice(viaRoot ? 10 : 9)) {
    case 0:
    case 1:
    case 2:
    case 3:
      return (table) =>
        `insert into ${table} as b (account_address, asset_id, block_time, block_num, ordinal, source_id, delta) values (${key.account}, ${key.asset}, ${key.time}, ${key.slot}, 0, 1, ${amount})
         on conflict (account_address, asset_id, block_time, block_num, ordinal, source_id) do update set delta = b.delta + excluded.delta`;
    case 4:
    case 5:
    case 6:
      return (table) => `update ${table} b set delta = b.delta + ${amount} where ${where(key)}`;
    case 7:
    case 8:
      return (table) => `delete from ${table} b where ${where(key)}`;
    default: // to another key, mostly in another week
      return (table) =>
        `update ${table} b set block_time = ${other.time}, block_num = ${other.slot} where ${where(key)}`;
  }
};

/** The table that holds the account's rows of a week just now: a leaf, or the consolidated table. */
const leafOf = async (client: pg.Client, week: number, account: string): Promise<string> => {
  const { rows } = await client
    .query<{ leaf: string }>(
      // By name from the catalog's snapshot: a table dropped meanwhile would be a number as regclass.
      `select format('%I.%I', n.nspname, coalesce(leaf.relname, week.relname)) as leaf
       from strata.set_partitions('balance_changes') p
       join pg_class week on week.oid = p.partition
       join pg_namespace n on n.oid = week.relnamespace
       left join (pg_inherits i join pg_class leaf on leaf.oid = i.inhrelid) on i.inhparent = week.oid
        and satisfies_hash_partition(week.oid, 4, substring(pg_get_expr(leaf.relpartbound, leaf.oid) from 'remainder (\\d+)')::int, ${account})
      where p.lower_bound = '${weekAt(week).toISOString()}' limit 1`,
    )
    .catch((thrown: unknown) => {
      if (!/could not open relation/.test(String(thrown))) throw thrown;
      return { rows: [] };
    });
  return rows[0]?.leaf ?? 'strata.balance_changes';
};

/** Writes until told to stop: a third of its transactions go straight to a leaf, a third share the gate as loads do. */
export const runWriter = async (
  url: string,
  seed: number,
  traffic: Traffic,
  stop: AbortSignal,
): Promise<void> => {
  const dice = diceOf(seed);
  const client = new pg.Client({ connectionString: url, application_name: 'writer' });
  await client.connect();
  client.on('error', () => undefined); // the statement that it breaks says so
  while (!stop.aborted) {
    const week = dice(TRUTH_WEEKS);
    const kind = dice(3);
    const key = keyIn(week, dice);
    const other = keyIn(dice(TRUTH_WEEKS), dice);
    const change = changeOf(key, other, kind !== 0, dice);
    const more = dice(2) === 0 ? null : changeOf(key, other, false, dice);
    try {
      const table = kind === 0 ? await leafOf(client, week, key.account) : 'strata.balance_changes';
      const statements = [
        ...(kind === 1 ? [`select strata.share_gates('balance_changes')`] : []),
        ...[...new Set([key.turn, other.turn])]
          .toSorted((a, b) => a - b)
          .map((turn) => `select pg_advisory_xact_lock(0, ${turn})`),
        change(table),
        change('strata.truth'),
        ...(more === null ? [] : [more(table), more('strata.truth')]),
      ];
      await timed(traffic, week, () => client.query(`begin; ${statements.join('; ')}; commit`));
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

/** Reads until told to stop, and checks that a read and the truth agree at one snapshot. */
export const runReader = async (
  url: string,
  seed: number,
  traffic: Traffic,
  stop: AbortSignal,
): Promise<void> => {
  const dice = diceOf(seed);
  const client = new pg.Client({ connectionString: url, application_name: 'reader' });
  await client.connect();
  client.on('error', () => undefined);
  while (!stop.aborted) {
    const week = dice(TRUTH_WEEKS);
    const within = `block_time >= '${weekAt(week).toISOString()}' and block_time < '${weekAt(week + 1).toISOString()}'`;
    const { account } = keyIn(week, dice);
    const sum = (table: string): string =>
      `(select concat(count(*), ':', sum(delta)) from ${table} where account_address = ${account} and ${within})`;
    const { rows } = await timed(traffic, week, () =>
      client.query<{ same: boolean; seen: string; truth: string }>(
        `select ${sum('strata.balance_changes')} = ${sum('strata.truth')} as same, ${sum('strata.balance_changes')} as seen, ${sum('strata.truth')} as truth`,
      ),
    );
    if (rows[0]?.same !== true)
      throw new Error(`a reader of week ${week} saw ${rows[0]?.seen}, the truth was ${rows[0]?.truth}`);
    traffic.reads++;
  }
  await client.end();
};
