/** The pool: values that stay exact, transactions that never linger, failures that say what to do and hide secrets. */
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { inspect } from 'node:util';

import type { PoolClient } from 'pg';
import { describe, expect, it } from 'vitest';

import { cursorRows } from '../../src/db/cursor.ts';
import { createPool, withClient, withTransaction } from '../../src/db/pool.ts';
import type { PoolOptions } from '../../src/db/pool.ts';
import type { WarehouseError } from '../../src/runtime/errors.ts';
import { useDatabase } from '../database.ts';
import { until } from './until.ts';

const database = useDatabase();

const failureOf = (work: Promise<unknown>): Promise<WarehouseError> =>
  work.then(
    () => {
      throw new Error('it should have failed');
    },
    (error: unknown) => error as WarehouseError,
  );

/** What comes of a first use of this URL. */
const dial = async (url: string, options: PoolOptions = {}): Promise<WarehouseError> => {
  const pool = createPool(url, options);
  try {
    return await failureOf(withClient(pool, (client) => client.query('select 1')));
  } finally {
    await pool.end();
  }
};

const changed = (change: (url: URL) => void): string => {
  const url = new URL(database.url);
  change(url);
  return url.toString();
};

const sessionsInTransaction = async (): Promise<number> => {
  const { rowCount } = await database.pool.query(
    `select from pg_stat_activity where state like 'idle in transaction%' and datname = current_database()`,
  );
  return rowCount ?? 0;
};

describe('a connection that fails', () => {
  it('for a wrong password is an auth error, and never shows the password', async () => {
    const url = changed((target) => (target.password = 'hunter2-secret'));
    const error = await dial(url);
    expect(error).toMatchObject({ kind: 'auth', detail: { sqlstate: '28P01' } });
    expect(error.detail.remedy).toContain('DATABASE_URL');
    expect(inspect(error, { depth: null, showHidden: false })).not.toContain('hunter2');
    const pool = createPool(url);
    expect(inspect(pool, { depth: null })).not.toContain('hunter2');
    await pool.end();
  });

  it('for a missing database is a config error', async () => {
    const error = await dial(changed((target) => (target.pathname = '/no_such_database')));
    expect(error).toMatchObject({ kind: 'config', detail: { sqlstate: '3D000' } });
    expect(error.detail.remedy).toContain('Create the database');
  });

  it('for a closed port or an unknown host is a connection error', async () => {
    for (const host of ['127.0.0.1:1', 'localhost:1']) {
      const error = await dial(changed((target) => (target.host = host)));
      expect(error).toMatchObject({ kind: 'connection' });
      expect(error.detail.remedy).toContain('host and the port');
    }
  });

  it('for a host that says nothing ends after the limit', async () => {
    const silent = createServer(() => undefined);
    await new Promise<void>((resolve) => {
      silent.listen(0, '127.0.0.1', resolve);
    });
    const { port } = silent.address() as AddressInfo;
    const error = await dial(
      changed((target) => (target.host = `127.0.0.1:${port}`)),
      { connectLimitMs: 100 },
    );
    expect(error.kind).toBe('connection');
    silent.close();
  });

  it('because the pool is used up says so', async () => {
    const pool = createPool(database.url, { max: 1, connectLimitMs: 1_000 });
    await withClient(pool, async () => {
      const error = await failureOf(withClient(pool, () => Promise.resolve()));
      expect(error).toMatchObject({ kind: 'connection' });
      expect(error.detail.remedy).toContain('size of the pool');
    });
    await pool.end();
  });
});

describe('a session', () => {
  it('has the settings we rely on, and those of the URL', async () => {
    const url = changed((target) => target.searchParams.set('options', '-c work_mem=5MB'));
    const pool = createPool(url, { applicationName: 'a test', synchronousCommit: 'off' });
    const { rows } = await pool.query(
      `select name, setting from pg_settings
        where name in ('TimeZone', 'plan_cache_mode', 'search_path', 'synchronous_commit', 'work_mem', 'application_name')`,
    );
    const settings = Object.fromEntries(rows.map(({ name, setting }) => [name, setting] as const));
    expect(settings).toEqual({
      TimeZone: 'UTC',
      application_name: 'a test',
      plan_cache_mode: 'force_custom_plan',
      search_path: 'strata,public,pg_temp',
      synchronous_commit: 'off',
      work_mem: '5120',
    });
    await pool.end();
  });

  it('gives values exactly, or refuses', async () => {
    const { rows } = await database.pool.query(
      `select 9007199254740991 as big, '{1,NULL,3}'::int8[] as bigs, 0.1::numeric as amount,
              '{1.10,NULL}'::numeric[] as amounts, date '2026-03-29' as day, timestamp '2026-03-29 02:30' as local,
              timestamptz '2026-03-29 02:30+00' as instant, '\\x00ff'::bytea as bytes`,
    );
    expect(rows).toEqual([
      {
        big: 9_007_199_254_740_991,
        bigs: [1, null, 3],
        amount: '0.1',
        amounts: ['1.10', null],
        day: '2026-03-29',
        local: '2026-03-29 02:30:00',
        instant: new Date('2026-03-29T02:30:00Z'),
        bytes: Buffer.from([0, 255]),
      },
    ]);
    const tooBig = failureOf(database.pool.query('select 9007199254740993 as big'));
    expect(await tooBig).toMatchObject({ kind: 'data', detail: { value: '9007199254740993' } });
  });
});

const insert = (client: PoolClient): Promise<unknown> => client.query('insert into public.kept values (1)');

describe('a transaction', () => {
  it('commits what it did, or nothing', async () => {
    await database.pool.query('create table public.kept (n int)');
    await withTransaction(database.pool, insert);
    const failure = new Error('changed my mind');
    await expect(
      withTransaction(database.pool, async (client) => {
        await insert(client);
        throw failure;
      }),
    ).rejects.toBe(failure);
    const { rows } = await database.pool.query('select count(*) from public.kept');
    expect(rows).toEqual([{ count: 1 }]);
    expect(await sessionsInTransaction()).toBe(0);
  });

  it('keeps the connection after a failure that a rollback mends', async () => {
    const pool = createPool(database.url, { max: 1 });
    const pids: number[] = [];
    for (let attempt = 0; attempt < 2; attempt++) {
      await withTransaction(pool, async (client) => {
        pids.push((client as unknown as { processID: number }).processID);
        await client.query('select 1/0');
      }).catch(() => undefined);
    }
    expect(pids).toEqual([pids[0], pids[0]]);
    await pool.end();
  });

  it('runs at the isolation asked for', async () => {
    const shown = await withTransaction(
      database.pool,
      (client) =>
        client.query(`select current_setting('transaction_isolation') as level,
                                       current_setting('transaction_read_only') as only`),
      { isolation: 'repeatable read', readOnly: true },
    );
    expect(shown.rows).toEqual([{ level: 'repeatable read', only: 'on' }]);
  });

  it('does not call a swallowed failure a success', async () => {
    const error = await failureOf(
      withTransaction(database.pool, (client) => client.query('select 1/0').catch(() => undefined)),
    );
    expect(error).toMatchObject({ kind: 'internal' });
    expect(await sessionsInTransaction()).toBe(0);
  });

  it('whose session is ended fails, and the pool goes on', async () => {
    const error = await failureOf(
      withTransaction(database.pool, async (client) => {
        await client.query('select pg_terminate_backend(pg_backend_pid())');
      }),
    );
    expect(error).toMatchObject({ kind: 'connection' });
    expect((await database.pool.query('select 1 as one')).rows).toEqual([{ one: 1 }]);
  });

  it('left open by a borrower is closed with its connection', async () => {
    await withClient(database.pool, (client) => client.query('begin'));
    await until('the session to be gone', async () => (await sessionsInTransaction()) === 0);
  });
});

const countThrough = (batchRows: number, rows: number): Promise<number> =>
  withClient(database.pool, async (client) => {
    let count = 0;
    const numbers = cursorRows<{ n: number }>(
      client,
      'select generate_series(1, $1) as n',
      [rows],
      batchRows,
    );
    for await (const { n } of numbers) {
      count += 1;
      expect(n).toBe(count);
    }
    return count;
  });

const drain = async (rows: AsyncIterable<unknown>): Promise<void> => {
  for await (const _row of rows) {
    // the first failure ends it
  }
};

describe('a cursor', () => {
  it('yields every row whatever the batch', async () => {
    expect(await countThrough(10, 0)).toBe(0);
    expect(await countThrough(10, 9)).toBe(9);
    expect(await countThrough(10, 10)).toBe(10);
    expect(await countThrough(10, 1_001)).toBe(1_001);
  });

  it('leaves the client usable when it is left early, and when it fails', async () => {
    await withClient(database.pool, async (client) => {
      for await (const { n } of cursorRows<{ n: number }>(
        client,
        'select generate_series(1, 1000) as n',
        [],
        10,
      )) {
        if (n === 15) break;
      }
      for (const [sql, kind] of [
        ['select 1 / (n - 50) from generate_series(1, 100) n', 'data'],
        ['select 9007199254740993 + n from generate_series(1, 100) n', 'data'],
        ['select nothing', 'database'],
      ] as const) {
        const rows = cursorRows(client, sql, [], 10);
        expect((await failureOf(drain(rows))).kind).toBe(kind);
      }
      expect((await client.query('select 1 as one')).rows).toEqual([{ one: 1 }]);
    });
  });

  it('ends with its connection', async () => {
    const error = await failureOf(
      withClient(database.pool, async (client) => {
        for await (const _row of cursorRows(client, 'select generate_series(1, 1000)', [], 10)) {
          const { processID } = client as unknown as { processID: number };
          await database.pool.query('select pg_terminate_backend($1)', [processID]);
          await until('the connection to end', () => client.connection.stream.destroyed);
        }
      }),
    );
    expect(error.kind).toBe('connection');
  });
});
