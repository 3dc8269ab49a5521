/**
 * Runs named queries.
 *
 * A query is one call of a SQL function, in a read-only transaction, as strata_reader where we may be that, under a time
 * limit; its rows come by a cursor, so that memory does not grow with them.
 */
import { sql, type RawBuilder } from 'kysely';
import { cursorRows } from '../../db/cursor.ts';
import { asWarehouseError } from '../../db/errors.ts';
import { borrowClient } from '../../db/pool.ts';
import { on, type Client, type Pool } from '../../db/query.ts';
import { mayReachNodes } from '../../db/reader.ts';
import { WarehouseError } from '../../runtime/errors.ts';
import { accountBytes, accountTextOfHex } from '../account.ts';
import { findAsset } from './assets.ts';
import { QUERIES, type QueryName } from './catalogue.ts';
import type { GivenParameters } from './parameters.ts';
import type {
  AnalyticsQuery,
  Column,
  ColumnType,
  Parameter,
  ParametersOf,
  ParameterType,
  RowOf,
} from './query.ts';
import { readTouched, type TouchedPartitions } from './touched.ts';
import { readAskedShards, readTouchedShards, type AskedShards } from './touched-shards.ts';
import { topologyOf } from '../topology.ts';

/** How a query is run. */
export interface RunOptions {
  /** Limit of the query, in milliseconds; 60,000. */
  readonly timeoutMs?: number;
  /** Rows fetched, and held in memory, at a time; 200. */
  readonly batchRows?: number;
}

const TIMEOUT_MS = 60_000;
/** Few: what is held outlives collections of young memory, which Node answers by taking three times as much of it. */
const BATCH_ROWS = 200;

const TYPES: Readonly<Record<ParameterType, string>> = {
  account: 'bytea',
  asset: 'bigint',
  instant: 'timestamptz',
  period: 'text',
  count: 'int',
  duration: 'interval',
  numbers: 'numeric[]',
  curve: 'jsonb',
  text: 'text',
};

/** A value as a parameter of the statement. Numbers of a curve are written out: JSON.stringify would make doubles of them. */
const bound = async (client: Client, { type }: Parameter, value: unknown): Promise<unknown> => {
  if (type === 'account') return accountBytes(value as string);
  if (type === 'asset') return findAsset(client, value as string);
  if (type === 'curve') {
    const points = value as readonly { readonly usd: string; readonly multiplier: string }[];
    return `[${points.map(({ usd, multiplier }) => `{"usd": ${usd}, "multiplier": ${multiplier}}`).join(', ')}]`;
  }
  return value;
};

/** A column as it is asked for: ids as text, for they use all 64 bits, and accounts as hex, for a Buffer each would be a lot of garbage. */
const shownAs = (type: ColumnType, source: string): RawBuilder<unknown> => {
  if (type === 'asset') return sql`${sql.id(source)}::text`;
  return type === 'account' ? sql`encode(${sql.id(source)}, 'hex')` : sql.id(source);
};

const callOf = async (
  client: Client,
  query: AnalyticsQuery,
  given: GivenParameters,
): Promise<RawBuilder<unknown>> => {
  const { parameters, columns } = query;
  const args: RawBuilder<unknown>[] = [];
  for (const parameter of parameters) {
    const value = given[parameter.name];
    if (value === undefined) continue;
    args.push(
      sql`${sql.id(parameter.argument)} => ${await bound(client, parameter, value)}::${sql.raw(TYPES[parameter.type])}`,
    );
  }
  const selected = columns.map(
    ({ name, source = name, type }) => sql`${shownAs(type, source)} as ${sql.id(name)}`,
  );
  return sql`select ${sql.join(selected)} from ${sql.id('strata', query.function)}(${sql.join(args)})`;
};

/** The reader's rights and nothing more, where we are granted them; a superuser or owner without them reads as itself. */
const MAY_BE_READER = `
  select exists (select from pg_roles where rolname = 'strata_reader')
     and pg_has_role(current_user, 'strata_reader', case when current_setting('server_version_num')::int >= 160000 then 'SET' else 'MEMBER' end) as may`;

const begin = async (client: Client, timeoutMs: number): Promise<void> => {
  await client.query('begin isolation level repeatable read read only');
  await client.query(`select set_config('statement_timeout', $1, true)`, [`${timeoutMs}ms`]);
  const { rows } = await client.query<{ may: boolean }>(MAY_BE_READER);
  if (rows[0]?.may === true && (await mayReachNodes(client)))
    await client.query('set local role strata_reader');
};

const late = (thrown: unknown, timeoutMs: number): unknown => {
  const error = asWarehouseError(thrown);
  if (error.detail.sqlstate !== '57014') return error;
  return new WarehouseError(
    'database',
    `the query took longer than ${timeoutMs / 1000} s`,
    { ...error.detail, remedy: 'Ask for a shorter span, or give it more time with --timeout.' },
    thrown,
  );
};

/** Rows as they are shown: accounts as text, in place. */
const showAccounts = (
  columns: readonly Column[],
): ((row: Record<string, unknown>) => Record<string, unknown>) => {
  const accounts = columns.flatMap(({ name, type }) => (type === 'account' ? [name] : []));
  return (row) => {
    for (const name of accounts) row[name] = accountTextOfHex(row[name] as string);
    return row;
  };
};

async function* rowsOf(
  client: Client,
  name: QueryName,
  given: GivenParameters,
  batchRows: number,
): AsyncGenerator<Record<string, unknown>, void, undefined> {
  const query: AnalyticsQuery = QUERIES[name];
  const { sql: text, parameters } = (await callOf(client, query, given)).compile(on(client));
  const show = showAccounts(query.columns);
  for await (const row of cursorRows<Record<string, unknown>>(client, text, parameters, batchRows))
    yield show(row);
}

/**
 * The rows of a named query, as they come. Leaving the loop early ends the query.
 *
 * @throws WarehouseError `usage` for an asset that is not there, `data` for an instant that retention has passed,
 *   `database` when it takes longer than the limit
 * @example for await (const { account, amount } of runQuery(pool, 'top-holders', { asset: 'USDX' })) …
 */
export async function* runQuery<N extends QueryName>(
  pool: Pool,
  name: N,
  parameters: ParametersOf<(typeof QUERIES)[N]>,
  { timeoutMs = TIMEOUT_MS, batchRows = BATCH_ROWS }: RunOptions = {},
): AsyncGenerator<RowOf<(typeof QUERIES)[N]>, void, undefined> {
  const { client, release } = await borrowClient(pool);
  try {
    await begin(client, timeoutMs);
    for await (const row of rowsOf(client, name, parameters, batchRows))
      yield row as RowOf<(typeof QUERIES)[N]>;
  } catch (thrown) {
    throw late(thrown, timeoutMs);
  } finally {
    await client.query('rollback').catch(() => undefined);
    release();
  }
}

/** What a query did. */
export interface ExplainedQuery {
  readonly rows: number;
  readonly milliseconds: number;
  readonly partitions: readonly TouchedPartitions[];
  /** What of a cluster was asked; null on one server. */
  readonly shards: AskedShards | null;
}

/**
 * Runs a query, throws its rows away, and tells which partitions it opened and which pruning left out; on a cluster which shards.
 *
 * @throws WarehouseError as {@link runQuery}
 */
export const explainQuery = async <N extends QueryName>(
  pool: Pool,
  name: N,
  parameters: ParametersOf<(typeof QUERIES)[N]>,
  { timeoutMs = TIMEOUT_MS, batchRows = BATCH_ROWS }: RunOptions = {},
): Promise<ExplainedQuery> => {
  const { client, release } = await borrowClient(pool);
  try {
    await begin(client, timeoutMs);
    const started = performance.now();
    let rows = 0;
    for await (const _row of rowsOf(client, name, parameters, batchRows)) rows++;
    const milliseconds = performance.now() - started;
    const work = { rows, milliseconds };
    return (await topologyOf(client)) === 'single'
      ? { ...work, partitions: await readTouched(client), shards: null }
      : {
          ...work,
          partitions: await readTouchedShards(client),
          shards: await readAskedShards(client),
        };
  } catch (thrown) {
    throw late(thrown, timeoutMs);
  } finally {
    await client.query('rollback').catch(() => undefined);
    release();
  }
};
