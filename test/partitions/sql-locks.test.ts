/** Who waits while a week is consolidated by SQL: the lock table at each step, and writers of this week and of others. */
import pg from 'pg';
import { beforeEach, describe, expect, it } from 'vitest';
import { createPool } from '../../src/db/pool.ts';
import type { Pool } from '../../src/db/query.ts';
import { messageOf } from '../../src/runtime/errors.ts';
import { createRandom, seedWords } from '../../src/devnet/random.ts';
import { useDatabase } from '../database.ts';
import { seed } from '../seed.ts';
import { until } from '../db/until.ts';
import { consolidate, digest, fillWeeks, KEYS, shape, statuses } from './weeks.ts';

const database = useDatabase();
const cleanups: (() => Promise<unknown>)[] = [];
let url = '';
let pool: Pool;

beforeEach(async () => {
  ({ url } = await database.createDatabase());
  pool = createPool(url);
  cleanups.push(() => pool.end());
  return async () => {
    for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
  };
});

const connect = async (): Promise<{ client: pg.Client; pid: number }> => {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  cleanups.push(() => client.end());
  const { rows } = await client.query<{ pid: number }>('select pg_backend_pid() as pid');
  return { client, pid: rows[0]!.pid };
};

const WEEK = 'strata.account_balances_2026_01_04';
const OTHER = 'strata.account_balances_2026_01_11';

const build = (client: pg.Client): Promise<number> =>
  client
    .query<{ id: string }>(`select strata.build_consolidated('account_balances', '${WEEK}') as id`)
    .then(({ rows }) => Number(rows[0]!.id));

const swap = (client: pg.Client, id: number): Promise<string> =>
  client
    .query<{ how: string }>('select strata.swap_consolidated($1) as how', [id])
    .then(({ rows }) => rows[0]!.how);

/** The strongest locks a session holds, by what they lie on. */
const locksOf = async (pid: number): Promise<Record<string, string>> => {
  const strength = `array['AccessShareLock', 'RowShareLock', 'RowExclusiveLock', 'ShareUpdateExclusiveLock', 'ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock']`;
  const { rows } = await pool.query<{ what: string; mode: string }>(
    `select case when c.oid = 'strata.account_balances'::regclass then 'root'
                 when c.relname = 'account_balances_2026_01_04' then 'week'
                 when c.relname like 'account\\_balances\\_2026\\_01\\_04\\_hash\\__' then 'leaves'
                 else 'other weeks' end as what,
            (${strength})[max(array_position(${strength}, l.mode))] as mode
       from pg_locks l join pg_class c on c.oid = l.relation
      where l.pid = $1 and l.granted and c.relkind in ('r', 'p') and c.relname like 'account\\_balances%'
        and c.relname not like '%current%' and c.relname not like '%opening%' and c.relname not like '%consolidated'
      group by 1`,
    [pid],
  );
  return Object.fromEntries(rows.map(({ what, mode }) => [what, mode]));
};

const insert = (client: pg.Client | Pool, table: string, at: string, account = '01'): Promise<unknown> =>
  client.query(
    `insert into ${table} (account_address, asset_id, "timestamp", balance, change_count) values (decode('${account}', 'hex'), 1, '${at}', 1, 1)`,
  );

/** Resolves when the session waits for a lock. */
const waiting = (pid: number): Promise<unknown> =>
  until(`session ${pid} to wait`, async () => {
    const { rows } = await pool.query('select from pg_locks where pid = $1 and not granted', [pid]);
    return rows.length > 0;
  });

describe('while a week is copied', () => {
  it('only its own writers wait: the lock table', async () => {
    await fillWeeks(pool, KEYS.slice(0, 2), 500);
    const { client, pid } = await connect();
    await client.query('begin');
    const id = await build(client);
    expect(await locksOf(pid)).toEqual({
      root: 'AccessShareLock',
      week: 'ShareRowExclusiveLock',
      leaves: 'ShareRowExclusiveLock',
      'other weeks': 'AccessShareLock', // from looking at their sizes
    });
    const { client: other } = await connect();
    await other.query("set lock_timeout = '1ms'");
    await insert(other, 'strata.account_balances', '2026-01-12Z');
    await other.query(`update ${OTHER} set balance = balance + 1`);
    await other.query('select count(*) from strata.account_balances');
    await other.query(
      `delete from strata.account_balances where "timestamp" >= '2026-01-12' and account_address = '\\x01'`,
    );
    await expect(insert(other, 'strata.account_balances', '2026-01-05Z')).rejects.toThrow(/lock timeout/);
    await expect(insert(other, WEEK, '2026-01-05Z')).rejects.toThrow(/lock timeout/);

    expect(await swap(client, id)).toBe('root');
    expect(await locksOf(pid)).toEqual({
      root: 'AccessExclusiveLock',
      week: 'AccessExclusiveLock',
      leaves: 'AccessExclusiveLock',
      'other weeks': 'AccessShareLock',
    });
    await client.query('commit');
  });

  it.each(['strata.account_balances', WEEK, `${WEEK}_hash_3`])(
    'a writer of this week through %s waits, loses nothing, and stops nobody',
    async (table) => {
      await fillWeeks(pool, KEYS.slice(0, 2), 500);
      const { client } = await connect();
      const { client: writer, pid } = await connect();
      await client.query('begin');
      const id = await build(client);
      const written = insert(writer, table, '2026-01-05T00:00:01Z').then(
        () => 'stored',
        (error: unknown) => messageOf(error),
      );
      await waiting(pid);
      expect(await swap(client, id)).toBe('week');
      await client.query('commit');
      // Whoever named a partition hears that it has gone, instead of writing where nobody reads.
      const gone = table !== 'strata.account_balances' && table !== WEEK;
      expect(await written).toBe(gone ? `relation "${table}" does not exist` : 'stored');
      const found = await pool.query(
        `select tableoid::regclass::text as leaf from strata.account_balances where account_address = '\\x01'`,
      );
      expect(found.rows).toEqual(gone ? [] : [{ leaf: 'account_balances_2026_01_04_consolidated' }]);
      expect(await digest(pool, 'strata_held.account_balances_2026_01_04')).toMatch(/^500 /);
      expect(await shape(pool)).toEqual([
        'consolidated 1 account_balances_2026_01_04',
        'hash 4 account_balances_2026_01_11',
      ]);
      const before = await digest(pool, 'strata.account_balances');
      await pool.query(`select strata.flatten_weeks('account_balances')`);
      expect(await shape(pool)).toEqual([
        'consolidated 0 account_balances_2026_01_04_consolidated',
        'hash 4 account_balances_2026_01_11',
      ]);
      expect(await digest(pool, 'strata.account_balances')).toBe(before);
    },
  );

  it('a reader that keeps the parent makes the swap go into the week, and the next call flattens it', async () => {
    await fillWeeks(pool, KEYS.slice(0, 2), 500);
    const before = await digest(pool, 'strata.account_balances');
    const { client: reader } = await connect();
    await reader.query('begin');
    await reader.query(
      `select count(*) from strata.account_balances where "timestamp" >= '2026-01-12' and "timestamp" < '2026-01-13'`,
    );
    const answers = await consolidate(pool, `consolidate_week_hash_partitions('2026_01_04')`);
    expect(statuses(answers)).toEqual(['2026_01_04 CONSOLIDATED']);
    expect((await shape(pool))[0]).toBe('consolidated 1 account_balances_2026_01_04');
    await reader.query('rollback');
    expect(statuses(await consolidate(pool, 'consolidate_old_hash_partitions(3, false)'))).toEqual([
      '2026_01_11 CONSOLIDATED',
    ]);
    expect(await shape(pool)).toEqual(
      KEYS.slice(0, 2).map((key) => `consolidated 0 account_balances_${key}_consolidated`),
    );
    expect(await digest(pool, 'strata.account_balances')).toBe(before);
    expect(await digest(pool, 'strata_held.account_balances_2026_01_04')).toMatch(/^500 /);
  });
});

it('a transaction that has read the week and waits to write to it goes on, and the week fails', async () => {
  await fillWeeks(pool, KEYS.slice(0, 1), 500);
  const { client } = await connect();
  const { client: writer, pid } = await connect();
  await writer.query('begin');
  await writer.query(`select count(*) from ${WEEK}`);
  await client.query('begin');
  const id = await build(client);
  const written = insert(writer, 'strata.account_balances', '2026-01-05Z');
  await waiting(pid);
  await expect(swap(client, id)).rejects.toThrow(
    'a transaction that has read this week waits to write to it',
  );
  await client.query('rollback');
  await written;
  await writer.query('commit');
  expect(await digest(pool, 'strata.account_balances')).toMatch(/^501 /);
});

it('a writer of two weeks that are both consolidated goes on, and the second week fails', async () => {
  await fillWeeks(pool, KEYS.slice(0, 2), 500);
  const { client } = await connect();
  const { client: writer, pid } = await connect();
  await client.query('begin');
  await build(client);
  await writer.query('begin');
  await insert(writer, 'strata.account_balances', '2026-01-12Z');
  const written = insert(writer, 'strata.account_balances', '2026-01-05Z');
  await waiting(pid);
  await expect(
    client.query(`select strata.build_consolidated('account_balances', '${OTHER}')`),
  ).rejects.toThrow(/waits to write to another one that is being consolidated/);
  await client.query('rollback');
  await written;
  await writer.query('commit');
  expect(await digest(pool, 'strata.account_balances')).toMatch(/^1002 /);
});

it('waits for a writer of the week to end, then merges what it wrote', async () => {
  await fillWeeks(pool, KEYS.slice(0, 1), 500);
  const { client, pid } = await connect();
  const { client: writer } = await connect();
  await writer.query('begin');
  await insert(writer, 'strata.account_balances', '2026-01-05Z');
  const answers = consolidate(client, `consolidate_week_hash_partitions('2026_01_04')`);
  await waiting(pid);
  await writer.query('commit');
  expect(statuses(await answers)).toEqual(['2026_01_04 CONSOLIDATED']);
  expect(await digest(pool, 'strata.account_balances')).toMatch(/^501 /);
});

it('a transaction that would see an empty week keeps it as it is', async () => {
  await fillWeeks(pool, KEYS.slice(0, 1), 500);
  const { client: reader, pid } = await connect();
  await reader.query('begin isolation level repeatable read');
  await reader.query('select 1 from strata.partition_sets');
  const [answer] = await consolidate(pool, `consolidate_week_hash_partitions('2026_01_04')`);
  expect(answer).toMatchObject({
    status: 'FAILED',
    message: expect.stringContaining(`(pid ${pid}) reads in a transaction`),
  });
  expect((await reader.query('select from strata.account_balances')).rows).toHaveLength(500);
  await reader.query('commit');
  expect(statuses(await consolidate(pool, `consolidate_week_hash_partitions('2026_01_04')`))).toEqual([
    '2026_01_04 CONSOLIDATED',
  ]);
});

describe('while four weeks are consolidated', () => {
  it('writers of the same weeks wait, and every write of theirs is there', { timeout: 120_000 }, async () => {
    await fillWeeks(pool, KEYS, 3000);
    await pool.query(
      `create table public.truth (like strata.account_balances, primary key (account_address, asset_id, "timestamp"));
       insert into public.truth select * from strata.account_balances`,
    );
    let done = false;
    let written = 0;
    const write = async (writer: number): Promise<void> => {
      const { client } = await connect();
      const random = createRandom(seedWords(`${seed()} ${writer}`));
      const below = (limit: number): number => random.next() % limit;
      for (let n = 0; !done; n++) {
        // Accounts of its own: a DELETE of what is not there waits for nobody, and would run ahead in one of the two tables.
        const key = `substr(sha256(convert_to('${4 * below(24) + writer}', 'UTF8')), 1, 20), ${below(5)}, '2026-01-04Z'::timestamptz + ${below(28 * 24)} * interval '1 hour'`;
        const where = `(account_address, asset_id, "timestamp") = (${key})`;
        const statement = (table: string): string =>
          [
            `insert into ${table} as b (account_address, asset_id, "timestamp", balance, change_count) values (${key}, ${writer * 1_000_000 + n}, 1)
               on conflict (account_address, asset_id, "timestamp") do update set balance = excluded.balance + b.balance`,
            `update ${table} set balance = balance * 3, change_count = change_count + 1 where ${where}`,
            `delete from ${table} where ${where}`,
          ][n % 3]!;
        await client.query('begin');
        await client.query(statement('strata.account_balances'));
        await client.query(statement('public.truth'));
        await client.query('commit');
        written++;
      }
    };
    const writers = [0, 1, 2, 3].map(write);
    await until('the writers to be at work', () => written > 20);
    const { client } = await connect();
    for (let call = 0; call < 4; call++)
      await client.query(`call strata.consolidate_old_weeks_singly('account_balances')`);
    done = true;
    await Promise.all(writers);
    console.info(`${written} writer transactions beside four consolidations`);
    await pool.query(`select strata.flatten_weeks('account_balances')`);
    expect(await shape(pool)).toEqual(
      KEYS.map((key) => `consolidated 0 account_balances_${key}_consolidated`),
    );
    expect(await digest(pool, 'strata.account_balances')).toBe(await digest(pool, 'public.truth'));
  });

  it('writers of other weeks go on all the while, and no row is lost', { timeout: 120_000 }, async () => {
    await fillWeeks(pool, KEYS, 12_000);
    await pool.query(`select strata.ensure_weeks('account_balances', '2026-02-03', '2026-02-03')`);
    let done = false;
    let written = 0;
    let longest = 0;
    const { client } = await connect();
    const write = async (): Promise<void> => {
      while (!done) {
        const start = performance.now();
        await pool.query(
          `insert into strata.account_balances (account_address, asset_id, "timestamp", balance, change_count) values ('\\x02', $1, '2026-02-03', 1, 1)`,
          [++written],
        );
        longest = Math.max(longest, performance.now() - start);
      }
    };
    const writers = [write()];
    const start = performance.now();
    await client.query(`call strata.consolidate_old_weeks_singly('account_balances', 9)`);
    const whole = performance.now() - start;
    done = true;
    await Promise.all(writers);
    console.info(
      `four weeks in ${whole.toFixed(0)} ms; ${written} writes to another week beside, the longest ${longest.toFixed(0)} ms`,
    );
    expect((await shape(pool)).slice(0, 4)).toEqual(
      KEYS.map((key) => `consolidated 0 account_balances_${key}_consolidated`),
    );
    expect(longest).toBeLessThan(whole / 2);
    const { rows } = await pool.query(
      `select count(*)::int as rows, count(*) filter (where account_address = '\\x02')::int as written from strata.account_balances`,
    );
    expect(rows).toEqual([{ rows: 48_000 + written, written }]);
  });
});
