/** Snapshots that are no observation, or have no place: refused where they are, or kept with their reason. */
import { describe, expect, test } from 'vitest';
import { createPool } from '../../src/db/pool.ts';
import { useDatabase } from '../database.ts';
import { failureOf } from '../flight/collect.ts';
import { microbatch, rangeOf, SCRIPTED_TRANSFERS, transfersBatch } from '../jobs/scripted-server.ts';
import { at, HOUR_US, NOW, SUNDAY_US, useSnapshots } from './loading.ts';
import { findings, observationBatch, storedRows, storedState } from './observations.ts';

const database = useDatabase();
const { run } = useSnapshots(database);

describe('a value that is no observation stops the load where it is', () => {
  const good = at(SUNDAY_US, '1', { block: 0 });
  test.each([
    ['NaN', { balance: 'NaN' }, 'balance', /not a plain decimal/],
    ['an infinity', { usd: 'Infinity' }, 'usd_value', /not a plain decimal/],
    ['no balance', { balance: null as unknown as string }, 'balance', /balance is null/],
    ['no account', { account: null as unknown as string }, 'account', /account is null/],
    ['no activity', { asset: null as unknown as string }, 'activity', /activity is null/],
    ['text for JSON', { data: '{tier: gold}' }, 'data', /not JSON/],
    ['a NUL in JSON', { data: String.raw`{"a": "\u0000"}` }, 'data', /\\u0000/],
  ])('%s', async (name, bad, column, says) => {
    const stream = `bad_${name.replaceAll(' ', '_')}`;
    const steps = [
      ...microbatch([rangeOf(0, 0)], observationBatch([good])),
      ...microbatch(
        [rangeOf(1, 3)],
        observationBatch([
          at(SUNDAY_US, '2', { block: 1 }),
          at(1n, '2', { block: 2 }),
          at(SUNDAY_US, '3', { block: 2, ...bad }),
        ]),
      ),
    ];
    const failure = await failureOf(run(stream, 3, steps));
    expect(failure).toMatchObject({ kind: 'data', detail: { stream, block: 2, row: 2, column } });
    expect(failure.message).toMatch(says);
    expect(await storedState(database.pool, stream)).toEqual(['ann holding 1']);
  });
});

const reasons = async (stream: string): Promise<string[]> => {
  const { rows } = await database.pool.query<{ reason: string }>(
    `select reason from strata.quarantine join strata.sources s using (source_id) where s.stream = $1 order by quarantine_id`,
    [stream],
  );
  return rows.map(({ reason }) => reason);
};

describe('quarantine keeps', () => {
  test('snapshots outside the sane window', async () => {
    const rows = [
      at(1n, '1'),
      at(SUNDAY_US, '2'),
      at(BigInt(NOW.getTime()) * 1000n + 8n * 24n * HOUR_US, '3'),
    ];
    expect(await run('insane', 0, microbatch([rangeOf(0, 0)], observationBatch(rows)))).toMatchObject({
      rows: 1,
      quarantined: 2,
    });
    expect(await reasons('insane')).toEqual(
      Array(2).fill('timestamp lies outside the sane window of account_balances'),
    );
    expect(await storedState(database.pool, 'insane')).toEqual(['ann holding 2']);
  });

  test('amounts with more decimals than their asset, once those are known: never rounded', async () => {
    const amounts = (block: number) =>
      ['1.5', '2.0', '3', '0.0001'].map((balance, index) =>
        at(SUNDAY_US + BigInt(10 * block + index), balance, { block }),
      );
    await run('decimals', 0, microbatch([rangeOf(0, 0)], observationBatch(amounts(0))));
    expect(await storedState(database.pool, 'decimals')).toEqual(['ann holding 0.0001']);
    await database.pool.query(`update strata.assets set decimals = 6 where standard = 'decimals'`);
    expect(await run('decimals', 1, microbatch([rangeOf(1, 1)], observationBatch(amounts(1))))).toMatchObject(
      { rows: 2, quarantined: 2 },
    );
    expect(await reasons('decimals')).toEqual(Array(2).fill('balance has more decimals than its asset'));
    expect(await storedState(database.pool, 'decimals')).toEqual(['ann holding 3']);
  });

  test('transfers of such amounts, whole: neither of their changes is made', async () => {
    const transfers = (block: number) =>
      microbatch(
        [rangeOf(block, block)],
        transfersBatch([
          { block, value: '1.5' },
          { block, value: '2' },
        ]),
      );
    const settings = { ...SCRIPTED_TRANSFERS, standard: 'fractions' };
    await run('fractions', 0, transfers(0), settings);
    await database.pool.query(`update strata.assets set decimals = 18 where standard = 'fractions'`);
    expect(await run('fractions', 1, transfers(1), settings)).toMatchObject({ rows: 2, quarantined: 1 });
    expect(await reasons('fractions')).toEqual(['value has more decimals than its asset']);
  });

  test('snapshots of a time whose rows are no longer retained; a reorg that reaches there is refused', async () => {
    const pool = createPool((await database.createDatabase()).url);
    try {
      const first = [at(SUNDAY_US - HOUR_US, '1'), at(SUNDAY_US, '2', { block: 1 })];
      const again = { only_changes: true };
      await run('kept', 1, microbatch([rangeOf(0, 1)], observationBatch(first)), again, { pool });
      await pool.query(`select strata.note_snapshots_dropped('2026-01-04 00:00+00')`);
      await pool.query(`delete from strata.snapshot_rows where observed_at < '2026-01-04 00:00+00'`);
      const second = [at(SUNDAY_US - 1n, '7', { block: 2 }), at(SUNDAY_US + HOUR_US, '2', { block: 2 })];
      expect(
        await run('kept', 2, microbatch([rangeOf(2, 2)], observationBatch(second)), again, { pool }),
      ).toMatchObject({ rows: 1, quarantined: 1 });
      const { rows } = await pool.query('select reason from strata.quarantine');
      expect(rows).toEqual([{ reason: 'timestamp lies before the snapshots that are retained' }]);
      expect(await storedRows(pool, 'kept')).toHaveLength(2);
      const fork = microbatch([rangeOf(0, 3, 'b')], observationBatch([]));
      expect(await failureOf(run('kept', 3, fork, again, { pool }))).toMatchObject({
        detail: { sqlstate: '55000' },
      });
      expect(await storedState(pool, 'kept')).toEqual(['ann holding 2']);
      expect(await findings(pool)).toEqual([]);
    } finally {
      await pool.end();
    }
  });
});

test('an asset is observed or summed, never both', async () => {
  await run('summed', 0, microbatch([rangeOf(0, 0)], transfersBatch([{ block: 0 }])), {
    ...SCRIPTED_TRANSFERS,
    standard: 'mixed',
  });
  const key = `0x${'aa'.repeat(19)}ee`;
  const failure = await failureOf(
    run('observed', 0, microbatch([rangeOf(0, 0)], observationBatch([at(SUNDAY_US, '1', { asset: key })])), {
      standard: 'mixed',
    }),
  );
  expect(failure).toMatchObject({ kind: 'config' });
  expect(failure.message).toMatch(/kept from changes already/);
});
