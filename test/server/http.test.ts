/** The page's server over HTTP: what it answers, to whom, as which role, and within which bounds. */
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createPool } from '../../src/db/pool.ts';
import type { Pool } from '../../src/db/query.ts';
import { createReader } from '../../src/db/reader.ts';
import type { PageServer } from '../../src/server/http.ts';
import { useDatabase } from '../database.ts';
import { until } from '../db/until.ts';
import { askPage, jsonAt, openEvents } from './asking.ts';
import { loadWarehouse, servePage } from './warehouse.ts';

const database = useDatabase();
const visitor = `strata_visitor_${randomBytes(4).toString('hex')}`;
let pool: Pool;
let page: PageServer;

beforeAll(async () => {
  await loadWarehouse(database.pool);
  await database.pool.query(`create role ${visitor} login password 'only reads'`);
  await database.pool.query(`grant strata_reader to ${visitor}`);
  const url = new URL(database.url);
  [url.username, url.password] = [visitor, 'only reads'];
  pool = createPool(url.href, { max: 4 });
  page = await servePage(pool);
});
afterAll(async () => {
  await page?.stop();
  await pool?.end();
  await database.pool.query(`drop role if exists ${visitor}`);
});

const one = async <T>(query: string, values: unknown[] = []): Promise<T> =>
  (await database.pool.query(query, values)).rows[0] as T;

/** A busy key: an account, its asset, and how it is written. */
const busiest = (): Promise<{ account: string; asset: string; amount: string }> =>
  one(`select b.account, b.asset_id::text as asset, b.balance::text as amount from strata.balances_current b
        join strata.account_balances h using (account_address, asset_id)
       group by 1, 2, 3 order by count(*) desc, 1, 2 limit 1`);

describe('the reader', () => {
  test('reads as strata_reader where it may, else as itself; nothing can be written either way', async () => {
    // That role may not log in to the nodes of a cluster.
    const reads = database.topology === 'single' ? 'strata_reader' : null;
    expect(page.role).toBe(reads);
    expect(page.advice === null).toBe(reads !== null);
    const mine = createReader(database.pool);
    expect(await mine.role()).toBeNull();
    for (const reader of [createReader(pool), mine]) {
      const write = reader.read((client) => client.query('delete from strata.quarantine'));
      await expect(write).rejects.toMatchObject({
        detail: { sqlstate: expect.stringMatching(/^(25006|42501)$/) },
      });
    }
  });

  test('ends what takes too long', async () => {
    const slow = createReader(pool).read((client) => client.query('select pg_sleep(60)'), 50);
    await expect(slow).rejects.toMatchObject({ kind: 'cancelled', detail: { sqlstate: '57014' } });
  });
});

describe('answers', () => {
  test('equal what SQL says', async () => {
    const { account, asset, amount } = await busiest();
    const { holdings } = (await jsonAt(page.url, `/api/account?account=${account}`)) as {
      holdings: { asset_id: string; amount: string }[];
    };
    expect(holdings.find((row) => row.asset_id === asset)?.amount).toBe(amount);
    const at = '2026-01-20T11:22:33Z';
    const { exact } = await one<{ exact: string }>(
      `select strata.balance_at(strata.account($1), $2::bigint, $3)::text as exact`,
      [account, asset, at],
    );
    expect(await jsonAt(page.url, `/api/balance?account=${account}&asset=${asset}&at=${at}`)).toEqual({
      amount: exact,
    });
    const history = (await jsonAt(page.url, `/api/history?account=${account}&asset=${asset}`)) as {
      rows: number;
      points: { at: number; amount: string }[];
    };
    const { stored } = await one<{ stored: number }>(
      `select count(*)::int as stored from strata.account_balances where account_address = strata.account($1) and asset_id = $2`,
      [account, asset],
    );
    expect([history.rows, history.points.length, history.points.at(-1)?.amount]).toEqual([
      stored,
      stored,
      amount,
    ]);
  });

  test('rank holders, and say how concentrated an asset is as a count by hand does', async () => {
    const { asset } = await busiest();
    // Who holds most is nobody: such accounts are left out, as by the analytics functions.
    const { burnt } = await one<{ burnt: string }>(
      `insert into strata.burn_accounts (account_address, note)
       select account_address, 'of a test' from strata.balances_current where asset_id = $1 order by balance desc limit 1
       returning strata.account_text(account_address) as burnt`,
      [asset],
    );
    const { rows } = await database.pool.query<{ account: string; balance: string }>(
      `select account, balance::text from strata.balances_current b where asset_id = $1 and balance > 0 and account <> $2
        order by b.balance desc, account_address`,
      [asset, burnt],
    );
    const { holders, count } = (await jsonAt(page.url, `/api/holders?asset=${asset}`)) as {
      holders: { account: string; amount: string }[];
      count: number;
    };
    expect(count).toBe(rows.length);
    expect(holders.map(({ account, amount }) => [account, amount])).toEqual(
      rows.slice(0, 20).map(({ account, balance }) => [account, balance]),
    );
    const { points } = (await jsonAt(page.url, `/api/concentration?asset=${asset}`)) as {
      points: { at: number; holders: number; top_1: number; top_10: number; top_100: number; gini: number }[];
    };
    const held = rows.map(({ balance }) => Number(balance));
    const total = held.reduce((sum, balance) => sum + balance, 0);
    const pairs = held.flatMap((a) => held.map((b) => Math.abs(a - b))).reduce((sum, each) => sum + each, 0);
    expect(points).toHaveLength(24);
    const last = points.at(-1)!;
    expect(last.holders).toBe(rows.length);
    expect(last.top_1).toBeCloseTo((held[0] ?? 0) / total, 10);
    expect(last.top_10).toBeCloseTo(held.slice(0, 10).reduce((sum, balance) => sum + balance, 0) / total, 10);
    expect(last.gini).toBeCloseTo(pairs / (2 * held.length * total), 10);
    // Each point is what the analytics function says of the last microsecond before it, which reads the changes themselves.
    for (const { at, holders: held_by, top_1, top_10, top_100, gini } of points)
      for (const [top, share] of [
        [1, top_1],
        [10, top_10],
        [100, top_100],
      ] as const) {
        const said = await one<{ holders: number; gini: number; top_share: number }>(
          `select holders, gini::float8, top_share::float8 from strata.concentration($1, to_timestamp($2) - interval '1 microsecond', $3)`,
          [asset, at, top],
        );
        expect(said.holders, `holders before ${at}`).toBe(held_by);
        expect(said.gini).toBeCloseTo(gini, 10);
        expect(said.top_share).toBeCloseTo(share, 10);
      }
  });

  test.each([
    ['/api/account', /account/],
    ['/api/balance?account=a&asset=1&at=yesterday', /at must be an instant/],
    ['/api/balance?account=a&asset=1&at=2026-01-01T00:00:00Z', /no asset 1/],
    ["/api/holders?asset=1'--", /asset must be the id/],
    ['/api/holders?asset=9999999999999999999', /./],
    ['/api/run?run=0', /run/],
    ['/api/run?run=99', /no run 99/],
  ])('%s is refused with the reason', async (path, reason) => {
    const { status, text } = await askPage(page.url, path);
    expect(status, text).toBe(400);
    expect((JSON.parse(text) as { error: string }).error).toMatch(reason);
  });
});

describe('every answer', () => {
  test.each(['/', '/page.js', '/api/assets', '/nothing', '/metrics', '/health'])(
    '%s says what a browser may do with it',
    async (path) => {
      const { headers } = await askPage(page.url, path);
      expect(headers['content-security-policy']).toContain("default-src 'none'");
      expect(headers['content-security-policy']).toContain("frame-ancestors 'none'");
      expect(headers['content-security-policy']).not.toContain('unsafe');
      expect(headers['x-content-type-options']).toBe('nosniff');
      expect(headers['access-control-allow-origin']).toBeUndefined();
    },
  );

  test('goes to those who call the server by an address, localhost, or a name that was allowed', async () => {
    const asked = (host: string): Promise<number> =>
      askPage(page.url, '/api/assets', { headers: { host } }).then(({ status }) => status);
    expect(await asked('localhost:9')).toBe(200);
    expect(await asked('evil.example')).toBe(421);
  });

  test('is to a GET, of a path that is there', async () => {
    expect((await askPage(page.url, '/api/assets', { method: 'POST' })).status).toBe(405);
    expect((await askPage(page.url, '/../package.json')).status).toBe(404);
    expect((await askPage(page.url, '/%2e%2e/%2e%2e/package.json')).status).toBe(404);
    expect((await askPage(page.url, `/${'a'.repeat(3000)}`)).status).toBe(400);
    expect((await askPage(page.url, '/', { headers: { 'x-long': 'a'.repeat(10_000) } })).status).toBe(431);
    const head = await askPage(page.url, '/', { method: 'HEAD' });
    expect([head.status, head.text]).toEqual([200, '']);
  });

  test('of a file is sent once, and zipped', async () => {
    const first = await askPage(page.url, '/uplot.js', { headers: { 'accept-encoding': 'gzip' } });
    expect(first.headers['content-encoding']).toBe('gzip');
    const again = await askPage(page.url, '/uplot.js', {
      headers: { 'if-none-match': first.headers.etag ?? '' },
    });
    expect([again.status, again.text]).toEqual([304, '']);
  });
});

describe('with a token', () => {
  const token = 'one that nobody knows of';
  let guarded: PageServer;
  beforeAll(async () => {
    guarded = await servePage(pool, { token: token.replaceAll(' ', '-'), names: ['page.example'] });
  });
  afterAll(() => guarded?.stop());
  const status = async (path: string, headers: Record<string, string> = {}): Promise<number> =>
    (await askPage(guarded.url, path, { headers })).status;

  test('a program shows it each time; probes need not', async () => {
    expect([await status('/health'), await status('/ready')]).toEqual([200, 200]);
    for (const path of ['/metrics', '/api/assets', '/events', '/page.js'])
      expect(await status(path), path).toBe(401);
    const shown = { authorization: `Bearer ${token.replaceAll(' ', '-')}`, host: 'page.example' };
    expect([await status('/metrics', shown), await status('/api/assets', shown)]).toEqual([200, 200]);
    expect(await status('/metrics', { authorization: 'Bearer another' })).toBe(401);
  });

  test('a browser is asked for it once', async () => {
    const first = await askPage(guarded.url, '/');
    expect([first.status, first.headers.location]).toEqual([303, '/login']);
    const login = (given: string, headers: Record<string, string> = {}) =>
      askPage(guarded.url, '/login', {
        method: 'POST',
        headers,
        body: new URLSearchParams({ token: given }).toString(),
      });
    expect((await login('wrong')).headers).toMatchObject({ location: '/login#refused' });
    expect((await login('wrong')).headers['set-cookie']).toBeUndefined();
    expect((await login(token.replaceAll(' ', '-'), { 'sec-fetch-site': 'cross-site' })).status).toBe(403);
    expect((await login('a'.repeat(5000))).status).toBe(413);
    const { headers } = await login(token.replaceAll(' ', '-'));
    const [cookie = ''] = headers['set-cookie'] ?? [];
    expect(cookie).toMatch(/; HttpOnly; SameSite=Strict$/);
    expect(await status('/', { cookie: cookie.split(';')[0] ?? '' })).toBe(200);
  });

  test('it is needed to listen elsewhere, and must be long', async () => {
    await expect(servePage(pool, { host: '0.0.0.0' })).rejects.toMatchObject({ kind: 'config' });
    await expect(servePage(pool, { token: 'short' })).rejects.toMatchObject({ kind: 'config' });
    const port = Number(new URL(page.url).port);
    await expect(servePage(pool, { port })).rejects.toMatchObject({ kind: 'conflict' });
  });
});

test('events bring every section at once, and a stop ends them', async () => {
  const own = await servePage(pool);
  const events = await openEvents(own.url);
  const map = (await events.next('map')) as { set: string; strata: { state: string }[] }[];
  expect(map.map(({ set }) => set)).toEqual(['account_balances', 'balance_changes', 'snapshot_rows']);
  const states = map[1]?.strata.map(({ state }) => state).join(' ');
  expect(states).toBe('closed closed closed closed unreached gap');
  await own.stop();
  await events.ended;
});

test('a database that has gone is said to probes, to scrapes and to viewers', async () => {
  const mortal = createPool(database.url, { max: 8 });
  const own = await servePage(mortal);
  expect((await askPage(own.url, '/ready')).status).toBe(200);
  const events = await openEvents(own.url);
  await events.next('map');
  await mortal.end();
  expect(await events.next('trouble')).toEqual(expect.any(String));
  await until('a probe that fails', async () => (await askPage(own.url, '/ready')).status === 503);
  await until('a scrape that says so', async () =>
    (await askPage(own.url, '/metrics')).text.includes('\npgstrata_database_up 0\n'),
  );
  expect((await askPage(own.url, '/health')).status).toBe(200);
  await own.stop();
});

describe('metrics', () => {
  const valueOf = (text: string, sample: string): number =>
    Number(
      text
        .split('\n')
        .find((line) => line.startsWith(`${sample} `))
        ?.slice(sample.length + 1),
    );

  test('say what the ledger, the catalog and the journal say', async () => {
    await database.pool.query(
      `insert into strata.maintenance_runs (set_name, verb, outcome, finished_at) values ('balance_changes', 'ensure', 'done', now())`,
    );
    await database.pool.query(
      `insert into strata.stream_health (stream, state, heads, started_at, host, pid, retries, work)
       values ('transfers', 'running', '{"devnet": 120}', now(), 'h', 1, 3, '{"bytes": 4096, "copy_seconds": 1.5, "copy_times": [0, 0, 0, 2, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1], "reorgs": 2}')`,
    );
    const own = await servePage(pool);
    const { text, headers } = await askPage(own.url, '/metrics');
    await own.stop();
    expect(headers['content-type']).toMatch(/^text\/plain; version=0\.0\.4/);
    const { rows, blocks } = await one<{ rows: number; blocks: number }>(
      'select sum(row_count)::int as rows, max(end_block)::int as blocks from strata.stream_batches',
    );
    const of = 'stream="transfers",network="devnet"';
    expect(valueOf(text, `pgstrata_stream_rows{${of}}`)).toBe(rows);
    expect(valueOf(text, `pgstrata_stream_position_block{${of}}`)).toBe(blocks);
    expect(valueOf(text, `pgstrata_stream_lag_blocks{${of}}`)).toBe(120 - blocks);
    expect(valueOf(text, 'pgstrata_stream_state{stream="transfers",state="running"}')).toBe(1);
    expect(valueOf(text, 'pgstrata_stream_breaker{stream="transfers",state="open"}')).toBe(0);
    expect(valueOf(text, 'pgstrata_ingest_sent_bytes_total{stream="transfers"}')).toBe(4096);
    const copies = 'pgstrata_ingest_copy_duration_seconds';
    for (const [le, count] of [
      ['0.01', 0],
      ['0.025', 2],
      ['1', 2],
      ['2.5', 3],
      ['+Inf', 4],
    ] as const)
      expect(valueOf(text, `${copies}_bucket{stream="transfers",le="${le}"}`), le).toBe(count);
    expect(valueOf(text, `${copies}_sum{stream="transfers"}`)).toBe(1.5);
    expect(valueOf(text, `${copies}_count{stream="transfers"}`)).toBe(4);
    expect(text).toContain('# TYPE pgstrata_ingest_commit_duration_seconds histogram\n');
    expect(valueOf(text, 'pgstrata_ingest_reorgs_total{stream="transfers"}')).toBe(2);
    expect(valueOf(text, 'pgstrata_ingest_retries_total{stream="transfers"}')).toBe(3);
    expect(valueOf(text, 'pgstrata_weeks{set="balance_changes",state="closed"}')).toBe(3);
    expect(valueOf(text, 'pgstrata_weeks{set="balance_changes",state="hot"}')).toBe(1);
    expect(valueOf(text, 'pgstrata_partitions{set="balance_changes"}')).toBe(
      database.topology === 'single' ? 16 : 4,
    );
    expect(valueOf(text, 'pgstrata_runway_weeks{set="balance_changes"}')).toBe(-1);
    expect(
      valueOf(text, 'pgstrata_maintenance_runs_total{set="balance_changes",verb="ensure",outcome="done"}'),
    ).toBe(1);
    expect(valueOf(text, 'pgstrata_database_up')).toBe(1);
  });

  test('are named by the rules, and the dashboard asks for none that are not there', async () => {
    const { text } = await askPage(page.url, '/metrics');
    const kinds = new Map(
      [...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map((match) => [match[1] ?? '', match[2]]),
    );
    for (const [name, kind] of kinds)
      if (name.startsWith('pgstrata_')) expect(name.endsWith('_total'), name).toBe(kind === 'counter');
    const dashboard = JSON.parse(
      readFileSync(new URL('../../docs/grafana-dashboard.json', import.meta.url), 'utf8'),
    ) as { panels: { title: string; targets?: { expr: string }[] }[] };
    const asked = dashboard.panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr));
    const named = asked.flatMap((expr) => expr.match(/\b(?:pgstrata|process|nodejs)_\w+/g) ?? []);
    expect(named.length).toBeGreaterThan(20);
    const isThere = (name: string): boolean =>
      kinds.has(name) || kinds.get(name.replace(/_(?:bucket|sum|count)$/, '')) === 'histogram';
    expect([...new Set(named)].filter((name) => !isThere(name))).toEqual([]);
  });
});
