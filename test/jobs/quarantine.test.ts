/** Rows outside the sane window: kept apart with their reason, counted in the ledger, forgotten with a reorg. */
import { afterEach, expect, test } from 'vitest';
import { Decimal, Utf8 } from 'apache-arrow';
import { useDatabase } from '../database.ts';
import { load } from './loading.ts';
import { ledgerOf, openTransactions } from './oracle.ts';
import {
  microbatch,
  rangeOf,
  SCRIPTED_TRANSFERS,
  SCRIPT_TIME,
  serveScript,
  transfersBatch,
} from './scripted-server.ts';
import type { ScriptedServer, Step } from './scripted-server.ts';

const database = useDatabase();
const servers: ScriptedServer[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) server.stop();
  expect(await openTransactions(database.pool)).toEqual([]);
});

const serve = async (to: number, script: () => Step[]): Promise<ScriptedServer> => {
  const server = await serveScript([rangeOf(0, to)], () => [...script(), { wait: 'for ever' }]);
  servers.push(server);
  return server;
};

const DAY = 86_400;
const NOW = new Date((SCRIPT_TIME + DAY) * 1000);
/** The first second that is too early, and the last that is not too late: seven days ahead of now. */
const TOO_EARLY = Date.UTC(2009, 0, 1) / 1000 - 1;
const LATEST = SCRIPT_TIME + 8 * DAY;

const kept = async (stream: string) => {
  const { rows } = await database.pool.query<{
    block_num: number;
    reason: string;
    detail: Record<string, unknown>;
  }>(
    `select block_num, reason, detail from strata.quarantine join strata.sources s using (source_id) where s.stream = $1 order by quarantine_id`,
    [stream],
  );
  return rows;
};

const changes = async (stream: string): Promise<number> => {
  const { rowCount } = await database.pool.query(
    `select from strata.balance_changes join strata.sources s using (source_id) where s.stream = $1`,
    [stream],
  );
  return rowCount ?? 0;
};

test('rows outside the window are kept with their reason; those on its edges are loaded', async () => {
  const server = await serve(1, () =>
    microbatch(
      [rangeOf(0, 1)],
      transfersBatch([
        { block: 0, time: TOO_EARLY, value: '7'.repeat(70) },
        { block: 0, time: TOO_EARLY + 1 },
        { block: 1, time: LATEST },
        { block: 1, time: LATEST + 1 },
        { block: 1 },
      ]),
    ),
  );
  const result = await load({
    pool: database.pool,
    url: server.url,
    stream: 'edges',
    settings: SCRIPTED_TRANSFERS,
    now: NOW,
  });
  expect(result).toMatchObject({ end: 'complete', rows: 6, quarantined: 2 });
  expect(await changes('edges')).toBe(6);
  expect(await ledgerOf(database.pool, 'edges', 'scripted')).toMatchObject([{ rows: 6, quarantined: 2 }]);
  const [early, late] = await kept('edges');
  expect(early).toMatchObject({
    block_num: 0,
    reason: 'timestamp lies outside the sane window of balance_changes',
  });
  expect(late).toMatchObject({ block_num: 1 });
  // The row can be read, and put right, from what was kept.
  expect(early?.detail).toMatchObject({
    value: '7'.repeat(70),
    to: `0x${'aa'.repeat(19)}02`,
    network: 'scripted',
  });
  expect(String(early?.detail['timestamp'])).toMatch(/^2008-12-31T23:59:59/);
});

test('a microbatch of nothing else is a batch all the same', async () => {
  const server = await serve(3, () => microbatch([rangeOf(0, 3)], transfersBatch([{ block: 2, time: 1 }])));
  const request = {
    pool: database.pool,
    url: server.url,
    stream: 'only',
    settings: SCRIPTED_TRANSFERS,
    now: NOW,
  };
  expect(await load(request)).toMatchObject({ end: 'complete', rows: 0, quarantined: 1 });
  expect(await kept('only')).toHaveLength(1);
  expect((await load(request)).end).toBe('nothing new');
  expect(await kept('only')).toHaveLength(1);
});

test('numbers are kept exactly, and a text that JSON cannot hold does not stop the load', async () => {
  const row = transfersBatch([{ block: 0, time: 1 }], {
    odd: { type: new Utf8(), values: ['nul \u0000 inside'] },
    wide: {
      type: new Decimal(0, 38, 128),
      values: [Uint32Array.of(0xffffffff, 0xffffffff, 0xffffffff, 0x0fffffff)],
    },
  });
  const server = await serve(0, () => microbatch([rangeOf(0, 0)], row));
  await load({ pool: database.pool, url: server.url, stream: 'odd', settings: SCRIPTED_TRANSFERS, now: NOW });
  const [only] = await kept('odd');
  expect(only?.detail['odd']).toBe('nul \u2400 inside');
  const { rows } = await database.pool.query(
    `select detail ->> 'wide' as wide from strata.quarantine join strata.sources s using (source_id) where s.stream = 'odd'`,
  );
  expect(rows).toEqual([{ wide: (2n ** 124n - 1n).toString() }]);
});

test('a reorg forgets the quarantined rows of the blocks it drops, and the ledger knows', async () => {
  const bad = (block: number) => ({ block, time: 1 });
  const script = (): Step[] => [
    ...microbatch([rangeOf(0, 5)], transfersBatch([bad(1), { block: 2 }, bad(3), bad(4), { block: 5 }])),
    ...microbatch([rangeOf(3, 6, 'b', 'a')], transfersBatch([{ block: 3 }, bad(6)])),
  ];
  const server = await serve(6, script);
  expect(
    await load({
      pool: database.pool,
      url: server.url,
      stream: 'forked',
      settings: SCRIPTED_TRANSFERS,
      now: NOW,
    }),
  ).toMatchObject({ reorgs: 1 });
  expect((await kept('forked')).map(({ block_num }) => block_num)).toEqual([1, 6]);
  expect(await ledgerOf(database.pool, 'forked', 'scripted')).toMatchObject([
    { start: 0, end: 2, rows: 2, quarantined: 1 },
    { start: 3, end: 6, rows: 2, quarantined: 1 },
  ]);
  expect(await changes('forked')).toBe(4);
});

test('of a partition set of rows are kept too, a null time among them', async () => {
  const settings = {
    load: 'rows',
    query: 'SELECT whatever the script says',
    table: 'parted_rows',
    columns: { at: 'timestamp', account: 'to', value: 'value' },
    partition: { time: 'at', hash: 'account', modulus: 2 },
  };
  const server = await serve(2, () =>
    microbatch(
      [rangeOf(0, 2)],
      transfersBatch([
        { block: 0 },
        { block: 0, time: null },
        { block: 1 },
        { block: 1, time: 1 },
        { block: 2 },
      ]),
    ),
  );
  const result = await load({
    pool: database.pool,
    url: server.url,
    stream: 'parted_rows',
    settings,
    now: NOW,
  });
  expect(result).toMatchObject({ end: 'complete', rows: 3, quarantined: 2 });
  expect((await kept('parted_rows')).map(({ block_num, reason }) => [block_num, reason])).toEqual([
    [0, 'timestamp is null'],
    [1, 'timestamp lies outside the sane window of parted_rows'],
  ]);
  const { rows } = await database.pool.query('select _block_num from parted_rows order by 1');
  expect(rows).toEqual([{ _block_num: 0 }, { _block_num: 1 }, { _block_num: 2 }]);
});
