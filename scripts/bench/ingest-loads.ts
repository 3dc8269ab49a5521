/** The two loads of the ingest benchmark: chain, policy, and the same rows pre-encoded for a raw COPY. */
import { CHANGE_COLUMNS } from '../../src/arrow/changes.ts';
import { createCopyEncoder, type CopyColumn, type CopyEncoder } from '../../src/arrow/copy.ts';
import type { Pool } from '../../src/db/query.ts';
import type { ChainOptions } from '../../src/devnet/chain.ts';
import { connectFlight } from '../../src/flight/client.ts';
import { queryFlight } from '../../src/flight/query.ts';
import { parseConfig, type TransfersConfig } from '../../src/runtime/config.ts';
import { createAssetBook } from '../../src/warehouse/assets.ts';
import { createRowCounter } from '../../src/warehouse/row-counter.ts';
import { appendRows, parseRule } from '../../src/warehouse/transfer-rows.ts';
import { NO_WHOLE_UNITS } from '../../src/warehouse/whole-units.ts';
import { createArrivalEncoder } from './arrival-encoder.ts';

/** COPY frames held in memory. */
export interface Preencoded {
  readonly list: readonly Buffer[];
  readonly rows: number;
  readonly bytes: number;
}

/** A load to measure. */
export interface BenchLoad {
  readonly name: 'transfers' | 'rows';
  readonly chain: ChainOptions;
  readonly query: string;
  policy(url: string): string;
  /** The raw COPY's statement. */
  readonly copy: string;
  /** Empties the tables, or makes them. */
  reset(pool: Pool): Promise<void>;
  /** The rows of the query as frames, in arrival order. */
  preencode(url: string): Promise<Preencoded>;
}

/** 2 M transfers within one week: the scale that design.md plans for has 250,000 accounts. */
const CHAIN: ChainOptions = {
  seed: 7,
  blocks: 10_001,
  transfersPerBlock: 200,
  logsPerBlock: 200,
  accounts: 250_000,
  tokens: 50,
};

const TRANSFERS = 'SELECT _block_num, timestamp, log_index, token, "from", "to", value FROM transfers';
const ROWS = 'SELECT _block_num, timestamp, log_index, tx_hash, token, "from", "to", value FROM transfers';

const TABLES_EMPTY =
  'truncate strata.balance_changes, strata.quarantine, strata.stream_batches, strata.sources, strata.streams, strata.assets, strata.prices, strata.fold_progress restart identity';

const transfersPolicy = (url: string): string => `
servers: { bench: { url: "${url}" } }
streams:
  transfers: { server: bench, load: transfers, query: '${TRANSFERS}', ordinal: log_index, rules: ["to:+value", "from:-value"], fold: deferred }`;

const rowsPolicy = (url: string): string => `
servers: { bench: { url: "${url}" } }
streams:
  rows: { server: bench, load: rows, query: '${ROWS}', table: bench_rows }`;

const messages = (url: string, query: string) => queryFlight(connectFlight({ url }), query);

const total = (list: readonly Buffer[]): number => list.reduce((sum, frame) => sum + frame.length, 0);

const preencodeTransfers = async (url: string): Promise<Preencoded> => {
  const config = parseConfig(transfersPolicy(url), {}).streams['transfers'] as TransfersConfig;
  const reading = {
    stream: 'transfers',
    config,
    rules: config.rules.map(parseRule),
    assets: createAssetBook(config.standard),
    wholeUnits: NO_WHOLE_UNITS,
    window: { earliest: -Infinity, latest: Infinity, retainedFrom: -Infinity },
    counter: createRowCounter(),
  };
  const arrival = createArrivalEncoder();
  for await (const { batch, metadata } of messages(url, TRANSFERS)) {
    const range = metadata?.ranges[0];
    if (batch === null || range === undefined || batch.numRows === 0) continue;
    appendRows(
      reading,
      batch,
      null,
      { range, sourceId: 1, batchId: 0n },
      { changes: arrival, weeks: new Set(), refused: [] },
    );
  }
  const list = arrival.finish();
  return { list, rows: arrival.count, bytes: total(list) };
};

const preencodeRows = async (url: string): Promise<Preencoded> => {
  const list: Buffer[] = [];
  let rows = 0;
  let encoder: CopyEncoder | null = null;
  for await (const { schema, batch } of messages(url, ROWS)) {
    encoder ??= createCopyEncoder(schema, { columns: ROWS_COLUMNS });
    if (list.length === 0) list.push(encoder.header());
    if (batch === null || batch.numRows === 0) continue;
    list.push(...encoder.encode(batch));
    rows += batch.numRows;
  }
  if (encoder !== null) list.push(encoder.trailer());
  return { list, rows, bytes: total(list) };
};

const column = (name: string, pgType: CopyColumn['pgType']): CopyColumn => ({
  name,
  source: name,
  pgType,
  nullable: false,
});

/** The columns of bench_rows, in the order of its COPY. */
const ROWS_COLUMNS: readonly CopyColumn[] = [
  column('timestamp', 'timestamptz'),
  column('log_index', 'bigint'),
  column('tx_hash', 'bytea'),
  column('token', 'bytea'),
  column('from', 'bytea'),
  column('to', 'bytea'),
  column('value', 'text'),
  column('_block_num', 'bigint'),
  { name: '_batch_id', source: { constant: 1n }, pgType: 'bigint', nullable: false },
];

/** 2 M rows without any index: what is measured is the way, not the b-trees. */
const ROWS_TABLE = `drop table if exists public.bench_rows;
create table public.bench_rows (timestamp timestamptz, log_index bigint, tx_hash bytea, token bytea, "from" bytea, "to" bytea, value text,
  _block_num bigint not null, _batch_id bigint not null)`;

/** The cases, in the order they run. */
export const LOADS: readonly BenchLoad[] = [
  {
    name: 'transfers',
    chain: CHAIN,
    query: TRANSFERS,
    policy: transfersPolicy,
    copy: `copy strata.balance_changes (${CHANGE_COLUMNS.join(', ')}) from stdin (format binary)`,
    reset: async (pool) => {
      await pool.query(TABLES_EMPTY);
      await pool.query(`select strata.ensure_weeks('balance_changes', '2026-01-04', '2026-01-10')`);
      await pool.query('checkpoint');
    },
    preencode: preencodeTransfers,
  },
  {
    name: 'rows',
    chain: CHAIN,
    query: ROWS,
    policy: rowsPolicy,
    copy: `copy public.bench_rows (${ROWS_COLUMNS.map(({ name }) => `"${name}"`).join(', ')}) from stdin (format binary)`,
    reset: async (pool) => {
      await pool.query(TABLES_EMPTY);
      await pool.query(ROWS_TABLE);
      await pool.query('checkpoint');
    },
    preencode: preencodeRows,
  },
];
