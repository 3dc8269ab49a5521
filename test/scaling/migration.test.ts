/** The way to a cluster: its order, its quoting, that it only reads the source, and that its digest tells rows apart. */
import { execFile } from 'node:child_process';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';
import pg from 'pg';
import { from as copyFrom, to as copyTo } from 'pg-copy-streams';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { withClient } from '../../src/db/pool.ts';
import { readTopologyFacts } from '../../src/warehouse/scaling/facts.ts';
import { planMigration, type Way } from '../../src/warehouse/scaling/migration.ts';
import { pipe, psql, WEEK, type MigrationStep } from '../../src/warehouse/scaling/migration-step.ts';
import { digestOf } from '../../src/warehouse/scaling/migration-weeks.ts';
import { useDatabase } from '../database.ts';
import { NOW, setOf, warehouseOf } from './facts.ts';

const FACTS = {
  ...warehouseOf([
    setOf('account_balances', { bytes: 1e6 }),
    setOf('balance_changes', { bytes: 1e6 }),
    setOf('snapshot_rows'),
  ]),
  others: [{ name: 'logs', qualified: 'public."Lo gs"', columns: ['_block_num', '"da$ta"'] }],
  labels: ['exchanges'],
};
const stepsOf = (way: Way): readonly MigrationStep[] =>
  planMigration(FACTS, { way, workers: 5, shards: 80, now: NOW });

/** What bash hands to the programs of a line: their arguments, one list each. */
const argumentsOf = async (line: string): Promise<string[][]> => {
  // One printf is one write: the two ends of a pipe do not mix.
  const script = `psql() { printf '%s\\0' "$@" END >&2; cat >/dev/null; }; SOURCE=s; CLUSTER=c; week=2026-01-04\n${line}`;
  const { stderr } = await promisify(execFile)('bash', ['-c', `exec </dev/null; ${script}`]);
  return stderr
    .split('END\0')
    .slice(0, -1)
    .map((words) => words.split('\0').slice(0, -1))
    .toSorted(([a = ''], [b = '']) => a.localeCompare(b));
};

describe('the steps', () => {
  test('copy while loading goes on, pause it once, and never write to the source', () => {
    const steps = stepsOf('copy');
    const loading = steps.map(({ loading }) => loading).join(' ');
    expect(loading).toMatch(/^(goes on )+(paused )+goes on$/);
    const onSource = steps
      .flatMap(({ run }) => run)
      .flatMap((line) => line.match(/psql "\$SOURCE" .*?(?= \| psql|$)/g) ?? []);
    expect(onSource.length).toBeGreaterThan(8);
    for (const command of onSource)
      expect(command).toMatch(
        /^psql "\$SOURCE" -X\w+ "(copy \(select .* to stdout \(format binary\)|select )/,
      );
    expect(steps.map(({ where }) => where)).not.toContain('source');
  });

  test('name every week and table once: closed weeks before the pause, the open one in it', () => {
    const steps = stepsOf('copy');
    const text = (loading: MigrationStep['loading']): string =>
      steps
        .filter((step) => step.loading === loading)
        .flatMap(({ run }) => run)
        .join('\n');
    const closed =
      'for week in 2026-01-04 2026-01-11 2026-01-18 2026-01-25 2026-02-01 2026-02-08 2026-02-15 2026-02-22; do';
    expect(text('goes on').split(closed)).toHaveLength(3);
    expect(text('paused').split('for week in 2026-03-01 WEEKS_THAT_DIFFER; do')).toHaveLength(3);
    for (const table of [
      'assets',
      'prices',
      'burn_accounts',
      'account_balances_current',
      'account_balances_opening',
      'streams',
      'sources',
      'stream_batches',
      'balance_status',
      'partition_sets',
      'fold_progress',
    ])
      expect(`${text('goes on')}\n${text('paused')}`, table).toContain(`from strata.${table}`);
    expect(text('paused')).toContain('from public.\\"Lo gs\\"');
    expect(text('goes on')).toContain('labels add exchanges');
    // Of an empty set there is nothing to copy.
    expect(JSON.stringify(steps)).not.toContain('snapshot_rows');
  });

  test('replay needs neither copies nor a pause before the end', () => {
    const steps = stepsOf('replay');
    expect(steps.length).toBeLessThan(stepsOf('copy').length);
    expect(JSON.stringify(steps)).not.toMatch(/copy \(/);
    expect(steps.find(({ loading }) => loading === 'paused')?.title).toMatch(/verify/);
  });
});

describe('a command', () => {
  test('reaches psql as the SQL it was, whatever names and values hold', async () => {
    const statement = `select "we""ird", '$HOME', '\`id\`', E'\\\\', '${WEEK}' from "a b"`;
    expect(await argumentsOf(psql('CLUSTER', statement))).toEqual([
      ['c', '-Xqc', statement.replace(WEEK, '2026-01-04')],
    ]);
    expect(await argumentsOf(pipe('select 1', 't ("x")'))).toEqual([
      ['c', '-Xqc', 'copy t ("x") from stdin (format binary)'],
      ['s', '-Xqc', 'copy (select 1) to stdout (format binary)'],
    ]);
  });
});

describe('the digest', () => {
  const database = useDatabase();
  const target = { client: null as pg.Client | null };
  const changes = async (): Promise<Parameters<typeof digestOf>[0]> =>
    (await withClient(database.pool, (client) => readTopologyFacts(client))).sets.find(
      ({ name }) => name === 'balance_changes',
    )!;

  beforeAll(async () => {
    const made = await database.createDatabase();
    target.client = new pg.Client(made.url);
    await target.client.connect();
    for (const client of [database.pool, target.client])
      await client.query(
        `select strata.ensure_weeks('balance_changes', '2026-01-04 00:00+00', '2026-01-12 00:00+00')`,
      );
    await database.pool.query(`insert into strata.balance_changes
      select decode(md5((n % 40)::text) || '00000000', 'hex'), n % 3, timestamptz '2026-01-04 00:00+00' + interval '40 minutes' * (n % 500), n, 0, 1, n * 10.5 from generate_series(1, 2000) n`);
    await database.pool.query('analyze strata.balance_changes');
  });
  afterAll(() => target.client?.end());

  const digests = async (set: Parameters<typeof digestOf>[0]): Promise<[string[], string[]]> => {
    const of = async (client: pg.Client | pg.Pool): Promise<string[]> =>
      (await client.query<{ week: Date; count: unknown; sum: string }>(digestOf(set))).rows.map(
        ({ week, count, sum }) => `${week.toISOString()} ${String(count)} ${sum}`,
      );
    return [await of(database.pool), await of(target.client!)];
  };

  test('is the same for the same rows in another order, and shows the week of any change', async () => {
    const set = await changes();
    const columns = set.columns.join(', ');
    await withClient(database.pool, (client) =>
      pipeline(
        client.query(
          copyTo(
            `copy (select ${columns} from ${set.qualified} order by delta desc) to stdout (format binary)`,
          ),
        ),
        target.client!.query(copyFrom(`copy ${set.qualified} (${columns}) from stdin (format binary)`)),
      ),
    );
    const [source, copied] = await digests(set);
    expect(source).toHaveLength(2);
    expect(copied).toEqual(source);
    for (const change of [
      `update strata.balance_changes set delta = delta + 1 where block_num = 7`,
      `delete from strata.balance_changes where block_num = 7`,
      `update strata.balance_changes set ordinal = 1 where block_num = 7`,
    ]) {
      await target.client!.query('begin');
      await target.client!.query(change);
      const [, changed] = await digests(set);
      await target.client!.query('rollback');
      expect(changed[0], change).not.toBe(source[0]);
      expect(changed[1], change).toBe(source[1]);
    }
  });

  test('tells a null from a text, and one column from the next', async () => {
    const set = { ...(await changes()), columns: ['a', 'b', 'block_time'], hash_column: null };
    const of = async (a: string, b: string): Promise<unknown> => {
      const { rows } = await database.pool.query<{ sum: string }>(
        digestOf({
          ...set,
          qualified: `(select ${a}::text as a, ${b}::text as b, now() as block_time) drawn`,
        }).replaceAll('extract(epoch from block_time)', '0'),
      );
      return rows[0]?.sum;
    };
    const all = [
      await of('null', "'x'"),
      await of("'NULL'", "'x'"),
      await of("'x'", 'null'),
      await of("'x|y'", "'z'"),
      await of("'x'", "'y|z'"),
      await of("'-'", "'x'"),
    ];
    expect(new Set(all).size).toBe(all.length);
  });
});
