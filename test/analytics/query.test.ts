/** The catalogue, its parameters, prices, pruning, and `pgstrata query` in every format. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { promisify } from 'node:util';
import { tableFromIPC } from 'apache-arrow';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createPool } from '../../src/db/pool.ts';
import { QUERIES, QUERY_NAMES } from '../../src/warehouse/analytics/catalogue.ts';
import { readParameters } from '../../src/warehouse/analytics/parameters.ts';
import type { AnalyticsQuery } from '../../src/warehouse/analytics/query.ts';
import { explainQuery, runQuery } from '../../src/warehouse/analytics/run.ts';
import { touchedInWords } from '../../src/warehouse/analytics/touched.ts';
import { addPrices } from '../../src/warehouse/prices.ts';
import { jsonOf, openFolder, type Folder } from '../cli/command.ts';
import { useDatabase } from '../database.ts';
import { ASSETS, drawHistory, HOUR, instantOf, storeHistory, weekAt, WEEKS } from './history.ts';
import { amount, holdersAt } from './oracle.ts';

const MAIN = join(import.meta.dirname, '../../src/cli/bin.ts');
const database = useDatabase();
const history = drawHistory(7);
const [coin] = ASSETS;
const ACCOUNT = history.accounts[3]!;
const AT = instantOf(weekAt(6) + 30n * HOUR);

beforeAll(() => storeHistory(database.pool, history));

describe('the catalogue', () => {
  test('says of every function what PostgreSQL says of it', async () => {
    const { rows } = await database.pool.query<{
      name: string;
      arguments: string[];
      optional: number;
      results: string[];
    }>(
      `select p.proname as name, p.proargnames[1:p.pronargs] as arguments, p.pronargdefaults as optional, p.proargnames[p.pronargs + 1:] as results
         from pg_proc p where p.pronamespace = 'strata'::regnamespace`,
    );
    for (const name of QUERY_NAMES) {
      const { function: called, parameters, columns }: AnalyticsQuery = QUERIES[name];
      const known = rows.find((row) => row.name === called);
      expect(known, `${name} has no function ${called}`).toBeDefined();
      expect(parameters.map(({ argument }) => argument).toSorted()).toEqual(known!.arguments.toSorted());
      const needed = known!.arguments.slice(0, known!.arguments.length - known!.optional);
      expect(
        parameters
          .filter(({ preset }) => preset === undefined)
          .map(({ argument }) => argument)
          .toSorted(),
      ).toEqual(needed.toSorted());
      expect(known!.results).toEqual(
        expect.arrayContaining(columns.map(({ name: column, source = column }) => source)),
      );
    }
  });

  test('has examples that can be read', () => {
    for (const name of QUERY_NAMES) {
      const words = QUERIES[name].example.matchAll(
        /--(?<option>[\w-]+) (?:"(?<quoted>[^"]+)"|(?<plain>\S+))/g,
      );
      const given = Object.fromEntries(
        [...words].map(({ groups }) => [groups!['option']!, groups!['quoted'] ?? groups!['plain']!]),
      );
      expect(readParameters(name, given)).toBeDefined();
    }
  });

  test('runs every query as strata_reader, where we may be that', async () => {
    const reader = createPool(database.adminUrl);
    await database.pool.query('grant select on strata.labels_kinds to strata_reader');
    const from = instantOf(weekAt(WEEKS.changes));
    const given: Record<string, unknown> = {
      account: ACCOUNT,
      asset: 'coin',
      from,
      to: instantOf(weekAt(8)),
      labels: 'kinds',
      column: 'kind',
    };
    try {
      for (const name of QUERY_NAMES) {
        const own = QUERIES[name].parameters.map(({ name: parameter }) => parameter as string);
        const parameters = Object.fromEntries(
          Object.entries(given).filter(([parameter]) => own.includes(parameter)),
        );
        const rows: unknown[] = [];
        for await (const row of runQuery(reader, name, parameters as never)) rows.push(row);
        expect([name, Object.keys(rows[0] ?? {})]).toEqual([
          name,
          QUERIES[name].columns.map(({ name: column }) => column),
        ]);
      }
    } finally {
      await reader.end();
    }
  });

  test('streams rows of the types it promises, and ends the query when they are left', async () => {
    for await (const { rank, account, share } of runQuery(
      database.pool,
      'top-holders',
      { asset: coin.id, at: AT },
      { batchRows: 1 },
    )) {
      expect([rank, account, typeof share]).toEqual([
        1,
        holdersAt(history, coin, weekAt(6) + 30n * HOUR)[0]!.account,
        'string',
      ]);
      break;
    }
    expect(
      (
        await database.pool.query(
          `select 1 from pg_stat_activity where datname = current_database() and state like 'idle in%'`,
        )
      ).rows,
    ).toEqual([]);
    const blocker = await database.pool.connect();
    await blocker.query('begin; lock table strata.account_balances_current');
    const tooLong = Array.fromAsync(runQuery(database.pool, 'balances', {}, { timeoutMs: 50 }));
    await expect(tooLong).rejects.toMatchObject({
      detail: { sqlstate: '57014', remedy: expect.stringContaining('--timeout') as string },
    });
    await blocker.query('rollback');
    blocker.release();
  });
});

describe('parameters', () => {
  test('name assets by id, key or symbol; a typo and a doubtful name are told', async () => {
    const first = async (asset: string): Promise<unknown> => {
      const [row] = await Array.fromAsync(runQuery(database.pool, 'concentration', { asset, at: AT }));
      return row?.amount;
    };
    await database.pool.query(`update strata.assets set symbol = 'CN' where asset_id = $1`, [coin.id]);
    expect(new Set([await first('coin'), await first('CN'), await first(coin.id)]).size).toBe(1);
    await expect(first('coim')).rejects.toMatchObject({
      kind: 'usage',
      message: 'there is no asset "coim"; did you mean coin?',
    });
    await database.pool.query(`update strata.assets set symbol = 'gold' where asset_id = $1`, [coin.id]);
    await expect(first('gold')).rejects.toMatchObject({
      detail: { remedy: expect.stringContaining(`${coin.id} (tests erc20 coin)`) as string },
    });
    await database.pool.query('update strata.assets set symbol = null');
  });
});

describe('prices', () => {
  const add = (text: string): Promise<unknown> =>
    addPrices(database.pool, { source: Readable.from([Buffer.from(text)]), fileName: 'prices.csv' });

  test('are loaded from CSV, the last of a time wins, and a bad line loads nothing', async () => {
    const count = `select count(*)::int as n, max(usd)::text as usd from strata.prices where source = 'prices.csv'`;
    for (const [text, message] of [
      [
        'asset,time,usd\ncoin,2027-01-01,1\ncoin,2027-02-30,1\n',
        'prices.csv, line 3: "2027-02-30" is no instant',
      ],
      ['asset,time,usd\ncoin,2027-01-01,-1\n', 'line 2: "-1" is no price'],
      ['asset,time,usd\ncoyn,2027-01-01,1\n', 'line 2: there is no asset "coyn"; did you mean coin?'],
      ['asset,tme,usd\n', 'the header has no column time'],
    ] as const)
      await expect(add(text)).rejects.toThrow(message);
    expect((await database.pool.query(count)).rows).toEqual([{ n: 0, usd: null }]);
    expect(
      await add('usd,asset,time\n1,coin,2027-01-01\n2.5,coin,2027-01-01T00:00:00Z\n3,gold,2027-01-01\n'),
    ).toEqual({ rows: 3, assets: 2 });
    expect(await add(`asset,time,usd\n${coin.id},2027-01-01,4.000000000000000001\n`)).toEqual({
      rows: 1,
      assets: 1,
    });
    expect((await database.pool.query(count)).rows).toEqual([{ n: 2, usd: '4.000000000000000001' }]);
    await database.pool.query(`delete from strata.prices where source = 'prices.csv'`);
  });
});

describe('pruning', () => {
  let client: pg.Client;
  const plans: string[] = [];
  beforeAll(async () => {
    client = new pg.Client({ connectionString: database.adminUrl });
    client.on('notice', ({ message }) => plans.push(message ?? ''));
    await client.connect();
    await client.query(`load 'auto_explain'; set auto_explain.log_min_duration = 0; set auto_explain.log_nested_statements = on;
      set auto_explain.log_format = 'json'; set client_min_messages = 'log'; set auto_explain.log_level = 'notice'`);
  });
  afterAll(() => client.end());

  /** Leaves that the plans of a call and of everything in it name. */
  const leavesOf = async (call: string, values: readonly unknown[]): Promise<string[]> => {
    plans.length = 0;
    await client.query(`select * from strata.${call}`, [...values]);
    const named = plans.flatMap((plan) => [
      ...plan.matchAll(/"Relation Name": "((?:account_balances|balance_changes|snapshot_rows)_\w+)"/g),
    ]);
    expect(plans.length).toBeGreaterThan(0);
    return [...new Set(named.map((match) => match[1]!))].toSorted();
  };
  const [from, to] = [instantOf(weekAt(5) + HOUR), instantOf(weekAt(6))];

  test.each([
    ['holders_over_time($1, $2, $3)', ['account_balances_2026_02_08']],
    ['cohorts($1, $2, $3, $4)', ['account_balances_2026_02_08']],
    ['active_accounts($2, $3, $4, $1)', ['account_balances_2026_02_08']],
    ['time_weighted_balances($1, $2, $3)', ['account_balances_2026_02_08']],
    ['asset_flows($2, $3, $4, $1)', ['balance_changes_2026_02_08']],
    ['label_flows($5, $6, $1, $2, $3, $4)', ['balance_changes_2026_02_08']],
  ])('%s opens the weeks of its span, and those before it for openings alone', async (call, weeks) => {
    const given = [coin.id, from, to, 'day', 'kinds', 'kind'];
    const used = [...call.matchAll(/\$(\d)/g)].map((match) => Number(match[1]));
    const order = used.toSorted((a, b) => a - b);
    const leaves = await leavesOf(
      call.replaceAll(/\$(\d)/g, (_all, place: string) => `$${order.indexOf(Number(place)) + 1}`),
      order.map((place) => given[place - 1]),
    );
    const later = leaves.filter((leaf) => /_2026_02_(?:15|22)/.test(leaf));
    expect(later).toEqual([]);
    expect(leaves).toEqual(expect.arrayContaining(weeks.map((week) => `${week}_hash_0`)));
    // The history before is read where balances changed since; changes never are.
    expect(
      leaves.filter((leaf) => leaf.startsWith('balance_changes') && !leaf.includes('_2026_02_08')),
    ).toEqual([]);
  });

  test('a balance as of a time, and the history of an account, open one hash partition of few weeks', async () => {
    for (const call of [
      'balance_at(strata.account($1), $2, $3)',
      'balances_at($3, $2, strata.account($1))',
    ]) {
      const leaves = await leavesOf(call, [ACCOUNT, coin.id, AT]);
      const own = leaves.filter((leaf) => !/current|opening/.test(leaf));
      expect(
        new Set(own.map((leaf) => /_hash_\d/.exec(leaf)?.[0] ?? 'consolidated')).size,
      ).toBeLessThanOrEqual(2);
      expect(own.some((leaf) => leaf.includes('2026_02_22'))).toBe(false);
    }
    const series = await leavesOf('balance_series(strata.account($1), $2, $3, $4)', [
      ACCOUNT,
      coin.id,
      from,
      to,
    ]);
    expect(series.filter((leaf) => leaf.startsWith('account_balances_2026_02')).length).toBeLessThanOrEqual(
      2,
    );
  });

  test('is told in words, the same partitions as the plans have', async () => {
    const { partitions, rows } = await explainQuery(database.pool, 'flows', { asset: 'coin', from, to });
    expect(rows).toBeGreaterThan(0);
    expect(touchedInWords(partitions)).toContain(
      'balance_changes: 4 of 14 partitions: the week of 2026-02-08 (0 consolidated, 1 hashed); 10 partitions pruned',
    );
    const touched = partitions.filter(
      ({ relation, touched }) => relation === 'balance_changes' && touched > 0,
    );
    expect(touched.map(({ week }) => week)).toEqual(['2026-02-08']);
  });
});

describe('pgstrata query', () => {
  let folder: Folder;
  beforeAll(async () => {
    folder = await openFolder();
  });
  afterAll(() => folder.remove());

  test('answers in every format, explains, and refuses what makes no sense', async () => {
    const environment = { DATABASE_URL: database.url };
    const ask = ['query', 'top-holders', '--asset', 'coin', '--at', AT, '--limit', '3'];
    const [text, json, csv, explained, wrong, arrow] = await Promise.all([
      folder.run(ask, environment),
      folder.run([...ask, '--json'], environment),
      folder.run([...ask, '--format', 'csv'], environment),
      folder.run([...ask, '--explain'], environment),
      folder.run(['query', 'top-holders', '--limit', 'x', '--from', '2026-01-01'], environment),
      // Its bytes are no text.
      promisify(execFile)(process.execPath, [MAIN, ...ask, '--format', 'arrow'], {
        cwd: folder.path,
        env: { ...process.env, ...environment },
        encoding: 'buffer',
      }),
    ]);
    const holders = holdersAt(history, coin, weekAt(6) + 30n * HOUR).slice(0, 3);
    const expected = holders.map(({ account, balance }) => `${account} ${amount(coin, balance)}`);
    const rows = jsonOf(json) as { account: string; amount: string }[];
    expect(rows.map((row) => `${row.account} ${row.amount.replace(/\.?0+$/, '')}`)).toEqual(expected);
    const lines = csv.stdout.trimEnd().split('\r\n');
    expect(lines[0]).toBe('rank,account,amount,share');
    expect(
      lines.slice(1).map((line) =>
        line
          .split(',')
          .slice(1, 3)
          .join(' ')
          .replace(/\.?0+$/, ''),
      ),
    ).toEqual(expected);
    expect(text.stdout.split('\n')[2]).toMatch(
      new RegExp(`^ +1 {2}${holders[0]!.account} +${amount(coin, holders[0]!.balance)} `),
    );
    expect(
      Array.from(
        tableFromIPC(arrow.stdout),
        (row: Record<string, unknown>) =>
          `${String(row['account'])} ${String(row['amount']).replace(/\.?0+$/, '')}`,
      ),
    ).toEqual(expected);
    expect(explained.stdout).toMatch(/^top-holders: 3 rows in \d+ ms\naccount_balances: .*pruned\n/);
    expect([text, json, csv, explained].map(({ code, stderr }) => [code, stderr])).toEqual(
      Array.from({ length: 4 }, () => [0, '']),
    );
    expect(wrong).toMatchObject({
      code: 2,
      stdout: '',
      stderr: expect.stringMatching(
        /takes no --from.*needs --asset.*--limit is "x"[^]*remedy: It takes --asset \[--at\] \[--limit\]/,
      ) as string,
    });
  });
});
