/** Loads that go on while retention takes weeks out from under them: every row is loaded, held or in quarantine, once. */
import { afterEach, describe, expect, it } from 'vitest';
import { createChain } from '../../src/devnet/chain.ts';
import { startDevnet } from '../../src/devnet/server.ts';
import type { Pool } from '../../src/db/query.ts';
import { createPool } from '../../src/db/pool.ts';
import { instantOf, weekOf } from '../../src/runtime/instant.ts';
import { foldStream } from '../../src/jobs/fold.ts';
import type { TransfersConfig } from '../../src/runtime/config.ts';
import { createBatchWriter } from '../../src/warehouse/batches.ts';
import { NOTHING } from '../../src/warehouse/datasets.ts';
import { claimStream } from '../../src/warehouse/stream-state.ts';
import { createTransfers } from '../../src/warehouse/transfers.ts';
import { openWeeks } from '../../src/warehouse/partitions/ensure.ts';
import { valueOf, verified } from '../balances/harness.ts';
import { useDatabase } from '../database.ts';
import { load, LOGS, policyOf, TRANSFERS } from '../jobs/loading.ts';
import { ledgerOf } from '../jobs/oracle.ts';
import {
  microbatch,
  rangeOf,
  SCRIPT_TIME,
  SCRIPTED_TRANSFERS,
  serveScript,
  transfersBatch,
} from '../jobs/scripted-server.ts';
import { at } from '../snapshots/loading.ts';
import { observationBatch } from '../snapshots/observations.ts';
import { attachedWeeks, retain, retainTwoWeeks, undo } from './retaining.ts';

const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

/** Six weeks, two hours a block, from Sunday 2026-01-04. */
const BLOCKS = 504;
const PER_BLOCK = 6;
const chainOf = () =>
  createChain({
    blocks: BLOCKS,
    blockSeconds: 7200,
    accounts: 40,
    tokens: 3,
    transfersPerBlock: PER_BLOCK,
    logsPerBlock: PER_BLOCK,
  });
const PRESENT = new Date('2026-02-20T00:00:00Z');

const reasonsOf = async (pool: Pool): Promise<string[]> => {
  const { rows } = await pool.query<{ reason: string }>(
    'select distinct reason from strata.quarantine order by 1',
  );
  return rows.map(({ reason }) => reason);
};

const olderThan = (set: string): string => `older than retention: timestamp lies before what ${set} keeps`;

const heldRows = async (pool: Pool, set: string): Promise<number> => {
  const { rows } = await pool.query<{ name: string }>(
    `select partition_name as name from strata.held_partitions where set_name = $1 and state = 'held'`,
    [set],
  );
  let held = 0;
  for (const { name } of rows)
    held += await valueOf<number>(pool, `select count(*)::int from strata_held."${name}"`);
  return held;
};

describe('while a load runs', () => {
  const database = useDatabase();

  it.each([
    ['transfers', TRANSFERS, 'balance_changes', 'strata.balance_changes', 2],
    [
      'deferred_transfers',
      { ...TRANSFERS, fold: 'deferred' },
      'account_balances',
      'strata.balance_changes',
      2,
    ],
    [
      'rows',
      { ...LOGS, table: 'kept_logs', partition: { time: 'timestamp', hash: 'address', modulus: 2 } },
      'kept_logs',
      'public.kept_logs',
      1,
    ],
  ] as const)('weeks of %s go, again and again', async (name, settings, set, table, rowsEach) => {
    const pool = createPool((await database.createDatabase()).url);
    cleanups.push(() => pool.end());
    const chain = chainOf();
    const devnet = await startDevnet({ chain, microbatchBlocks: 4 });
    cleanups.push(devnet.stop);
    // Each retention takes out what there is: the week that is being loaded with it.
    let first = 0;
    let retained = 0;
    let working: Promise<void> = Promise.resolve();
    const takeOut = async (before: Promise<void>): Promise<void> => {
      await before;
      if (++first > 6) return;
      await retainTwoWeeks(pool, set);
      const { weeks } = await retain(pool, set, first);
      retained += weeks.length;
    };
    const onEvent = ({ kind }: { readonly kind: string }): void => {
      if (kind !== 'committed') return;
      working = takeOut(working);
    };
    const result = await load({
      pool,
      url: devnet.url,
      stream: name,
      settings: { ...settings, commit_rows: 300 },
      now: PRESENT,
      onEvent,
    });
    await working;
    expect(result.end).toBe('complete');
    expect(retained).toBeGreaterThan(0);
    expect((await ledgerOf(pool, name)).at(-1)!.end).toBe(BLOCKS - 1);
    const stored = await valueOf<number>(pool, `select count(*)::int from ${table}`);
    const quarantined = await valueOf<number>(pool, 'select count(*)::int from strata.quarantine');
    const total =
      chain.view().batch(name === 'rows' ? 'logs' : 'transfers', 0, BLOCKS - 1).numRows * rowsEach;
    const held = set === 'account_balances' ? 0 : await heldRows(pool, set);
    expect(stored + held + quarantined * rowsEach).toBe(total);
    // How many there are is a matter of who was faster; the next test leaves that to nobody.
    expect([[], [olderThan(set)]]).toContainEqual(await reasonsOf(pool));
    if (name !== 'rows')
      await foldStream({ pool, stream: name, signal: new AbortController().signal, acrossGaps: false });
    expect(await verified(pool)).toMatchObject({ differences: 0, first: [] });
  });
});

/** A row of block `block` in week `week`. */
const rowIn = (block: number, week: number) => ({ block, time: SCRIPT_TIME + week * 7 * 86_400 + block });

describe('a week that goes between two microbatches', () => {
  const database = useDatabase();
  const transfer = (block: number, ...weeks: readonly number[]) =>
    transfersBatch(weeks.map((week) => rowIn(block, week)));
  const observed = (block: number, ...weeks: readonly number[]) =>
    observationBatch(
      weeks.map((week) => at(BigInt(rowIn(block, week).time) * 1_000_000n, `${block}${week}`, { block })),
    );
  const SNAPSHOTS = { load: 'snapshots', query: 'SELECT whatever the script says' };
  const ROWS = {
    load: 'rows',
    query: 'SELECT whatever the script says',
    table: 'between_rows',
    columns: { at: 'timestamp', account: 'to', value: 'value' },
    partition: { time: 'at', hash: 'account', modulus: 2 },
  };

  it.each([
    [
      'transfers',
      SCRIPTED_TRANSFERS,
      transfer,
      ['balance_changes', 'account_balances'],
      'balance_changes',
      2,
    ],
    ['snapshots', SNAPSHOTS, observed, ['snapshot_rows'], 'account_balances', 1],
    ['snapshots_of_balances', SNAPSHOTS, observed, ['account_balances'], 'account_balances', 1],
    ['rows', ROWS, transfer, ['between_rows'], 'between_rows', 1],
  ] as const)(
    'is seen by a load of %s: late rows of it are quarantined, the others loaded',
    async (stream, settings, batch, sets, named, rowsEach) => {
      const pool = createPool((await database.createDatabase()).url);
      cleanups.push(() => pool.end());
      const gone = Promise.withResolvers<void>();
      let commits = 0;
      const server = await serveScript([rangeOf(0, 3)], ({ resume }) => [
        ...(resume !== null ? [] : microbatch([rangeOf(0, 1)], batch(1, 0, 1))),
        { wait: gone.promise },
        ...microbatch([rangeOf(2, 3)], batch(2, 0, 1, 1)),
        { wait: 'for ever' },
      ]);
      cleanups.push(() => Promise.resolve(server.stop()));
      const takeOut = async (): Promise<void> => {
        await retainTwoWeeks(pool, ...sets);
        for (const set of sets) expect((await retain(pool, set, 1)).weeks).toHaveLength(1);
      };
      const onEvent = ({ kind }: { readonly kind: string }): void => {
        if (kind === 'committed' && commits++ === 0) gone.resolve(takeOut());
      };
      const request = { pool, url: server.url, stream, settings, now: PRESENT, onEvent };
      expect(await load(request)).toMatchObject({ end: 'complete', rows: 4 * rowsEach, quarantined: 1 });
      expect(await reasonsOf(pool)).toEqual([olderThan(named)]);
      for (const set of sets) expect((await attachedWeeks(pool, set))[0]).toMatch(/2026_01_11$/);
      expect(await verified(pool)).toMatchObject({ differences: 0, first: [] });
      for (const set of sets.toReversed()) await undo(pool, set);
      expect(await verified(pool)).toMatchObject({ differences: 0, first: [] });
    },
  );
});

describe('a transaction that has written to a week before retention began', () => {
  const database = useDatabase();

  it.each(['live', 'deferred'] as const)(
    'is refused at its commit when it folds %s, and loads by the new window then',
    async (fold) => {
      const pool = createPool((await database.createDatabase()).url);
      cleanups.push(() => pool.end());
      const settings = { ...SCRIPTED_TRANSFERS, fold };
      const config = policyOf('grpc://127.0.0.1:1', { open: settings }).streams['open'] as TransfersConfig;
      const batch = transfersBatch([rowIn(0, 0), rowIn(0, 1)]);
      const begin = async () => {
        const dataset = createTransfers(pool, 'open', config, PRESENT);
        const writer = createBatchWriter(pool, await claimStream(pool, dataset.definition), dataset);
        await dataset.prepare(batch.schema);
        const buffer = dataset.createBuffer();
        const places = await writer.place([rangeOf(0, 0)], new Set());
        const [[, count] = ['', NOTHING]] = buffer.append(batch, places);
        buffer.prepare();
        await writer.write(buffer);
        return { writer, entries: [{ range: places[0]!.range, count }] };
      };
      const first = await begin();
      cleanups.push(() => first.writer.abandon());
      await pool.query(
        `select strata.begin_retention('balance_changes', '2026-01-11 00:00+00', '{strata.balance_changes_2026_01_04}')`,
      );
      await expect(first.writer.commit(first.entries)).rejects.toMatchObject({ code: '40001' });
      const second = await begin();
      expect(await second.writer.commit(second.entries)).toMatchObject({ rows: 2, quarantined: 1 });
      await foldStream({ pool, stream: 'open', signal: new AbortController().signal, acrossGaps: false });
      expect(await verified(pool)).toMatchObject({ differences: 0, first: [] });
    },
  );
});

describe('a week keeper', () => {
  const database = useDatabase();

  it('makes no week that retention has dropped, until it is undone', async () => {
    const { pool } = database;
    await pool.query(`select strata.ensure_weeks('balance_changes', '2026-01-04', '2026-01-20')`);
    await retainTwoWeeks(pool, 'balance_changes');
    await retain(pool, 'balance_changes', 2);
    const week = weekOf(instantOf(new Date('2026-01-11')));
    const keeper = await openWeeks(pool, 'balance_changes', PRESENT);
    await keeper.ensure([week - 1, week, week + 1, week + 2]);
    expect(await attachedWeeks(pool, 'balance_changes')).toEqual([
      'balance_changes_2026_01_18',
      'balance_changes_2026_01_25',
    ]);
    expect(keeper.window.earliest).toBe(instantOf(new Date('2026-01-18')));
    await undo(pool, 'balance_changes');
    expect((await openWeeks(pool, 'balance_changes', PRESENT)).window.earliest).toBe(
      instantOf(new Date('2009-01-01')),
    );
    expect(await attachedWeeks(pool, 'balance_changes')).toHaveLength(4);
  });
});

describe('two tables of one name', () => {
  const database = useDatabase();

  it('in two schemas are two sets, each with its own weeks; a third name is asked for where there is none left', async () => {
    const { pool } = database;
    await pool.query('create schema other');
    const devnet = await startDevnet({
      chain: createChain({ blocks: 5, logsPerBlock: 4 }),
      microbatchBlocks: 5,
    });
    cleanups.push(devnet.stop);
    const partition = { time: 'timestamp', hash: 'address', modulus: 2 };
    for (const table of ['public.twins', 'other.twins'])
      await load({
        pool,
        url: devnet.url,
        stream: table,
        settings: { ...LOGS, table, partition },
        now: PRESENT,
      });
    const { rows } = await pool.query(
      `select set_name, parent::text from strata.partition_sets where set_name like '%twins' order by 1`,
    );
    expect(rows).toEqual([
      { set_name: 'other_twins', parent: 'other.twins' },
      { set_name: 'twins', parent: 'twins' },
    ]);
    for (const table of ['public.twins', 'other.twins'])
      expect(await valueOf(pool, `select count(*)::int from ${table}`)).toBe(20);
    await expect(
      pool.query(`select strata.create_partition_set('twins', 'other.twins', 'timestamp', 'address')`),
    ).rejects.toThrow(/'twins' is the table .*twins already/);
    const long = 'x'.repeat(39);
    await pool.query(
      `create table public.${long} (at timestamptz not null, who int) partition by range (at)`,
    );
    await pool.query(`select strata.create_partition_set($1, $2::regclass, 'at', 'who')`, [
      long,
      `public.${long}`,
    ]);
    await expect(pool.query(`select strata.free_set_name('other', $1)`, [long])).rejects.toThrow(
      /no name left/,
    );
  });
});
