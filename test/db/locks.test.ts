/** Advisory locks: one holder, a bounded wait that names it, and a signal when the holder's connection dies. */
import { Client } from 'pg';
import type { PoolClient } from 'pg';
import { expect, it } from 'vitest';

import {
  advisoryKey,
  connectionLoss,
  lockInTransaction,
  releaseAdvisoryLock,
  tryAdvisoryLock,
  withAdvisoryLock,
} from '../../src/db/locks.ts';
import { withClient, withTransaction } from '../../src/db/pool.ts';
import { useDatabase } from '../database.ts';
import { until } from './until.ts';

const database = useDatabase();

const withTwo = (work: (one: PoolClient, other: PoolClient) => Promise<void>): Promise<void> =>
  withClient(database.pool, (one) => withClient(database.pool, (other) => work(one, other)));

it('has the same key for a name everywhere', () => {
  expect(advisoryKey('migrate')).toBe(858082333959045737n);
  expect(advisoryKey('stream:erc20')).not.toBe(advisoryKey('stream:erc721'));
});

it('goes to one session at a time', async () => {
  await withTwo(async (one, other) => {
    expect(await tryAdvisoryLock(one, 'leader')).toBe(true);
    expect(await tryAdvisoryLock(other, 'leader')).toBe(false);
    expect(await tryAdvisoryLock(other, 'another')).toBe(true);
    await releaseAdvisoryLock(one, 'leader');
    expect(await tryAdvisoryLock(other, 'leader')).toBe(true);
    await releaseAdvisoryLock(other, 'leader');
    await releaseAdvisoryLock(other, 'another');
  });
});

it('may be shared', async () => {
  await withTwo(async (one, other) => {
    expect(await tryAdvisoryLock(one, 'gate', 'shared')).toBe(true);
    expect(await tryAdvisoryLock(other, 'gate', 'shared')).toBe(true);
    await releaseAdvisoryLock(one, 'gate', 'shared');
    expect(await tryAdvisoryLock(one, 'gate')).toBe(false);
    await releaseAdvisoryLock(other, 'gate', 'shared');
  });
});

it('is waited for, but not for ever, and the holder is named', async () => {
  await withTwo(async (one, other) => {
    await other.query("set lock_timeout = '7s'");
    await withAdvisoryLock(one, 'merge', async () => {
      await expect(
        withAdvisoryLock(other, 'merge', () => Promise.resolve(), { waitMs: 20 }),
      ).rejects.toMatchObject({
        kind: 'conflict',
        message: expect.stringMatching(
          /^The lock "merge" is held by pgstrata test \(pid \d+\); waited 20 ms\.$/u,
        ),
        detail: { sqlstate: '55P03' },
      });
    });
    expect(await withAdvisoryLock(other, 'merge', () => Promise.resolve('mine'))).toBe('mine');
    expect((await other.query('show lock_timeout')).rows).toEqual([{ lock_timeout: '7s' }]);
    await other.query('reset lock_timeout');
  });
});

it('is given back when the work fails', async () => {
  await withTwo(async (one, other) => {
    const failing = withAdvisoryLock(one, 'work', () => Promise.reject(new Error('no')));
    await expect(failing).rejects.toThrow('no');
    expect(await tryAdvisoryLock(other, 'work')).toBe(true);
    await releaseAdvisoryLock(other, 'work');
  });
});

it('of a transaction ends with it, and its failure is the transaction’s', async () => {
  await withClient(database.pool, async (other) => {
    await withTransaction(database.pool, async (client) => {
      await lockInTransaction(client, 'stream');
      expect(await tryAdvisoryLock(other, 'stream')).toBe(false);
    });
    expect(await tryAdvisoryLock(other, 'stream')).toBe(true);
    await expect(
      withTransaction(database.pool, (client) => lockInTransaction(client, 'stream', { waitMs: 20 })),
    ).rejects.toMatchObject({ kind: 'conflict' });
    await releaseAdvisoryLock(other, 'stream');
  });
});

it('tells its holder when the connection dies', async () => {
  await withTwo(async (one, other) => {
    const { rows } = await one.query<{ pid: number }>('select pg_backend_pid() as pid');
    const aborted = withAdvisoryLock(one, 'leader', async (signal) => {
      await other.query('select pg_terminate_backend($1)', [rows[0]?.pid]);
      await until('the signal', () => signal.aborted); // it may have come before the answer to the statement above
      return signal.reason as unknown;
    });
    expect(await aborted).toMatchObject({ kind: 'connection' });
    expect(await tryAdvisoryLock(other, 'leader')).toBe(true);
    await releaseAdvisoryLock(other, 'leader');
  });
});

it('tells its holder when the connection is closed', async () => {
  const client = new Client({ connectionString: database.url });
  await client.connect();
  const { signal } = connectionLoss(client);
  await client.end();
  await until('the signal', () => signal.aborted);
});

it('is forgotten without a trace on the client', async () => {
  await withClient(database.pool, (client) => {
    const before = client.listenerCount('end');
    connectionLoss(client).forget();
    expect(client.listenerCount('end')).toBe(before);
    return Promise.resolve();
  });
});
