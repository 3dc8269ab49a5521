/** Old weeks are taken out and put back: what is retained stays exact at every step, and an undo brings back what was. */
import fc from 'fast-check';
import { Client } from 'pg';
import { describe, expect, it } from 'vitest';
import type { Pool } from '../../src/db/query.ts';
import { rebuildBalances } from '../../src/warehouse/rebuild.ts';
import { applyRetain } from '../../src/warehouse/partitions/retain/apply.ts';
import { planRetain } from '../../src/warehouse/partitions/retain/plan.ts';
import { planUndoRetention } from '../../src/warehouse/partitions/retain/undo.ts';
import { blocksOf, DAY, HOUR, move, openStream, valueOf, verified, WEEK } from '../balances/harness.ts';
import type { Step } from '../balances/histories.ts';
import { foldAll } from '../balances/oracle.ts';
import type { Player } from '../balances/play.ts';
import { expectRetained, fiveWeeks } from '../balances/retained.ts';
import { expectFolded, storedTables } from '../balances/tables.ts';
import { useDatabase } from '../database.ts';
import { until } from '../db/until.ts';
import { propertyOptions } from '../seed.ts';
import { attachedWeeks, inItsOwn, presentFor, quietly, retain, retainTwoWeeks, undo } from './retaining.ts';

const anything = { check: () => Promise.resolve() };

/** Tables, openings, status and the sum of changes, as text: equal before and after means that nothing was lost. */
const fingerprint = async (pool: Pool): Promise<unknown> => {
  const { rows } = await pool.query(
    `select (select md5(string_agg(b::text, '' order by b::text)) from strata.account_balances b) as balances,
            (select md5(string_agg(c::text, '' order by c::text)) from strata.account_balances_current c) as state,
            (select md5(string_agg(o::text, '' order by o::text)) from strata.account_balances_opening o) as openings,
            (select md5(string_agg(c::text, '' order by c::text)) from strata.balance_changes c) as changes,
            (select jsonb_agg(p.retained_from order by p.set_name) from strata.partition_sets p) as retained,
            (select jsonb_build_array(opened_before, changes_from, observations_from) from strata.balance_status) as status`,
  );
  return rows[0];
};

const expectWhole = async (pool: Pool, player: Player): Promise<void> => {
  expectFolded(await storedTables(pool, player.assets), foldAll(player.changes(), 'hour', 0));
  expect(await verified(pool)).toMatchObject({ differences: 0, first: [] });
};

const late = blocksOf([move(2, 3, 11, 8n * DAY), move(4, 2, 3, 22n * DAY + HOUR, 1)]);
/** Before every cutoff: for keys with an opening balance, and for keys without. */
const tooLate = blocksOf([move(1, 2, 13, 2n * DAY)], [move(1, 4, 5, 3n * DAY), move(0, 4, 1, 9n * DAY, 1)]);

inItsOwn(
  'of balances leaves everything exact, and its undo brings everything back, late rows and all',
  async ({ pool }) => {
    const player = openStream(pool, 'balances', anything);
    await retainTwoWeeks(pool, 'account_balances');
    await player.play(fiveWeeks(), 0);
    const before = await fingerprint(pool);
    const retained = await retain(pool, 'account_balances', 2);
    expect(retained.weeks.map(({ name, state, reason }) => [name, state, reason])).toEqual([
      ['account_balances_2026_01_04', 'held', 'retained'],
      ['account_balances_2026_01_11', 'held', 'retained'],
    ]);
    expect(retained.weeks.every((week) => week.bytes! > 0 && week.drop_after! > week.detached_at)).toBe(true);
    await expectRetained(pool, player, 2n * WEEK);
    for (const leaf of ['account_balances_2026_01_04', 'account_balances_2026_01_04_hash_0']) {
      await expect(
        pool.query(`delete from strata_held.${leaf}`),
        'a write behind the exchange',
      ).rejects.toMatchObject({
        code: '55000',
      });
    }
    await undo(pool, 'account_balances');
    expect(await fingerprint(pool)).toEqual(before);
    expect(await valueOf(pool, `select count(*)::int from pg_trigger where tgname = 'strata_detached'`)).toBe(
      0,
    );
    await expectWhole(pool, player);

    await retain(pool, 'account_balances', 1);
    await player.play(late, 1);
    await retain(pool, 'account_balances', 3);
    for (const [index, step] of [
      tooLate,
      { ...blocksOf([move(1, 2, 1, 37n * DAY)]), back: 2 },
      late,
    ].entries()) {
      player.restart();
      await player.play(step, index + 2);
      await expectRetained(pool, player, 3n * WEEK);
    }
    expect(await attachedWeeks(pool, 'account_balances')).not.toContain('account_balances_2026_01_04');
    await rebuildBalances(pool, { account: null, assetId: null, from: null });
    await undo(pool, 'account_balances');
    await expectRetained(pool, player, WEEK);
    await undo(pool, 'account_balances');
    await expectWhole(pool, player);
    expect(await valueOf(pool, 'select count(*)::int from strata.account_balances_opening')).toBe(0);
    expect(await valueOf(pool, 'select count(*)::int from strata.held_openings')).toBe(0);
  },
);

inItsOwn(
  'of changes and of balances, in either order and by different policies, verifies',
  async ({ pool }) => {
    const player = openStream(pool, 'both', anything);
    await retainTwoWeeks(pool, 'account_balances', 'balance_changes');
    await player.play(fiveWeeks(), 0);
    const before = await fingerprint(pool);
    await retain(pool, 'balance_changes', 3);
    await expectRetained(pool, player, 2n * WEEK, 3n * WEEK);
    await retain(pool, 'account_balances', 2);
    await expectRetained(pool, player, 2n * WEEK, 3n * WEEK);
    await undo(pool, 'balance_changes');
    await expectRetained(pool, player, 2n * WEEK);
    await retain(pool, 'balance_changes', 1);
    await expectRetained(pool, player, 2n * WEEK);
    await undo(pool, 'account_balances');
    await expectRetained(pool, player, WEEK);
    await undo(pool, 'balance_changes');
    expect(await fingerprint(pool)).toEqual(before);
    await expectWhole(pool, player);
  },
);

describe('at random', () => {
  const database = useDatabase();
  let number = 0;

  it('retentions, late rows, forks and undos end as if there had been none but the history', async () => {
    const moves = fc.array(
      fc
        .record({
          from: fc.nat(4),
          to: fc.nat(4),
          units: fc.nat(5),
          hour: fc.nat(35 * 24 - 1),
          asset: fc.nat(1),
        })
        .map(({ from, to, units, hour, asset }) => move(from, to, units, BigInt(hour) * HOUR, asset)),
      { minLength: 1, maxLength: 4 },
    );
    const event = fc.oneof(
      {
        weight: 3,
        arbitrary: fc.record({
          kind: fc.constant('play' as const),
          blocks: fc.array(moves, { minLength: 1, maxLength: 2 }),
          back: fc.nat(2),
        }),
      },
      {
        weight: 2,
        arbitrary: fc.record({ kind: fc.constant('retain' as const), first: fc.integer({ min: 1, max: 5 }) }),
      },
      { weight: 2, arbitrary: fc.record({ kind: fc.constant('undo' as const) }) },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant('rebuild' as const) }) },
    );
    await fc.assert(
      fc.asyncProperty(fc.array(event, { minLength: 3, maxLength: 8 }), async (events) => {
        const { pool } = database;
        const player = openStream(pool, `random_${number++}`, anything);
        await retainTwoWeeks(pool, 'account_balances');
        await player.play(fiveWeeks(), 0);
        for (const [index, happens] of events.entries()) {
          player.restart();
          if (happens.kind === 'play') {
            const step: Step = { ...blocksOf(...happens.blocks), back: happens.back };
            await player.play(step, index + 1);
          } else if (happens.kind === 'retain') await retain(pool, 'account_balances', happens.first);
          else if (happens.kind === 'undo') await undo(pool, 'account_balances');
          else await rebuildBalances(pool, { account: null, assetId: null, from: null });
          expect(await verified(pool)).toMatchObject({ differences: 0, first: [] });
        }
        for (let undone = 1; undone > 0;) undone = (await undo(pool, 'account_balances')).weeks;
        await expectWhole(pool, player);
      }),
      propertyOptions(6),
    );
  });
});

inItsOwn(
  'detaches under SHARE UPDATE EXCLUSIVE, waits out who still reads, and stops nobody else',
  async (database) => {
    const { pool } = database;
    const player = openStream(pool, 'locks', anything);
    await player.play(fiveWeeks(), 0);
    await retainTwoWeeks(pool, 'balance_changes');
    const slow = new Client({ connectionString: database.url });
    await slow.connect();
    await slow.query('begin isolation level repeatable read');
    const readSlowly = async (): Promise<unknown> =>
      (await slow.query('select count(*)::int as n, sum(abs(delta)) as total from strata.balance_changes'))
        .rows;
    const first = await readSlowly();
    const running = applyRetain(
      pool,
      await planRetain(pool, 'balance_changes', { now: presentFor(1) }),
      quietly(),
    );
    const modes = await until('the detach to wait', async () => {
      const { rows } = await pool.query<{ mode: string }>(
        `select l.mode from pg_locks l join pg_stat_activity a using (pid)
        where l.relation = 'strata.balance_changes'::regclass and a.query ~ '^alter table .* detach'
          and exists (select from pg_locks w where w.pid = l.pid and not w.granted)`,
      );
      return rows.length > 0 && [...new Set(rows.map(({ mode }) => mode))].join();
    });
    expect(modes).toBe('ShareUpdateExclusiveLock');
    // The reader of before sees its week to the end; others read and write meanwhile, and soon even get a new week.
    expect(await readSlowly()).toEqual(first);
    const began = performance.now();
    await player.play(blocksOf([move(1, 2, 1, 34n * DAY)]), 1);
    const wait_ms = performance.now() - began;
    await pool.query(`select strata.ensure_weeks('balance_changes', '2026-05-01', '2026-05-01')`);
    expect(await verified(pool)).toMatchObject({ differences: 0 });
    await slow.query('commit');
    await slow.end();
    expect((await running).weeks).toHaveLength(1);
    expect(wait_ms).toBeLessThan(2_000);
  },
);

inItsOwn('puts weeks back without a scan', async (database) => {
  const { pool } = database;
  const player = openStream(pool, 'scan', anything);
  await player.play(fiveWeeks(), 0);
  await retainTwoWeeks(pool, 'account_balances');
  await retain(pool, 'account_balances', 2);
  const plan = await planUndoRetention(pool, 'account_balances', { now: presentFor(2) });
  const client = new Client({ connectionString: database.url });
  await client.connect();
  const notices: string[] = [];
  client.on('notice', (notice) => notices.push(notice.message ?? ''));
  await client.query(`set client_min_messages = 'debug1'`);
  await client.query(plan.steps[0]!.sql[0]!);
  await client.end();
  for (const week of ['2026_01_04', '2026_01_11'])
    expect(notices).toContain(
      `partition constraint for table "account_balances_${week}" is implied by existing constraints`,
    );
  expect(notices.filter((notice) => /^verifying table|^building index(?! "pg_toast)/.test(notice))).toEqual(
    [],
  );
  await expectWhole(pool, player);
});
