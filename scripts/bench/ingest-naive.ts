/** What a user would write first, measured beside ours: row objects into text COPY, and into batched INSERTs. */
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { from as copyFrom } from 'pg-copy-streams';
import { withClient } from '../../src/db/pool.ts';
import type { Client, Pool } from '../../src/db/query.ts';
import { connectFlight } from '../../src/flight/client.ts';
import { assetId, assetIdText } from '../../src/warehouse/assets.ts';
import type { BenchLoad } from './ingest-loads.ts';

/** Rows of the source that the naive ways load; their rate hardly depends on it, and they are slow. */
const SOURCE_ROWS = 100_000;
const ROWS_PER_INSERT = 1000;

type Row = readonly (string | number)[];

const hex = (bytes: Uint8Array): string => `\\x${Buffer.from(bytes).toString('hex')}`;

/** One row of the query as the rows of the target table, the way a user would spell it. */
const spell = (load: BenchLoad, row: Record<string, unknown>, assets: Map<string, string>): Row[] => {
  const time = new Date(Number(row['timestamp'])).toISOString();
  const block = String(row['_block_num']);
  const index = Number(row['log_index']);
  const [token, from, to] = ['token', 'from', 'to'].map((name) => hex(row[name] as Uint8Array)) as [
    string,
    string,
    string,
  ];
  const value = String(row['value']);
  if (load.name === 'rows')
    return [[time, index, hex(row['tx_hash'] as Uint8Array), token, from, to, value, block, '1']];
  const id =
    assets.get(token) ??
    assetIdText(assetId({ network: 'devnet', standard: 'erc20', assetKey: token, tokenId: null }));
  assets.set(token, id);
  return [
    [to, id, time, block, 2 * index, 1, value],
    [from, id, time, block, 2 * index + 1, 1, value === '0' ? value : `-${value}`],
  ];
};

async function* spelledRows(load: BenchLoad, url: string): AsyncGenerator<Row[]> {
  const client = connectFlight({ url });
  const assets = new Map<string, string>();
  let taken = 0;
  for await (const { batch } of client.query(load.query)) {
    if (batch === null) continue;
    for (const row of batch) {
      yield spell(load, row.toJSON(), assets);
      if (++taken >= SOURCE_ROWS) {
        client.close();
        return;
      }
    }
  }
}

const escape = (value: string | number): string =>
  String(value).replaceAll('\\', '\\\\').replaceAll('\t', '\\t').replaceAll('\n', '\\n');

const textCopy = async (load: BenchLoad, client: Client, url: string): Promise<number> => {
  let rows = 0;
  const lines = async function* lines(): AsyncGenerator<string> {
    for await (const spelled of spelledRows(load, url)) {
      rows += spelled.length;
      yield spelled.map((row) => `${row.map(escape).join('\t')}\n`).join('');
    }
  };
  await pipeline(Readable.from(lines()), client.query(copyFrom(load.copy.replace('(format binary)', ''))));
  return rows;
};

const batchedInsert = async (load: BenchLoad, client: Client, url: string): Promise<number> => {
  const [, table = '', columns = ''] = /^copy (\S+) (\([^)]*\))/.exec(load.copy) ?? [];
  let pending: Row[] = [];
  let rows = 0;
  const flush = async (): Promise<void> => {
    if (pending.length === 0) return;
    const width = pending[0]!.length;
    const places = pending.map(
      (_row, index) =>
        `(${Array.from({ length: width }, (_unused, column) => `$${index * width + column + 1}`).join(', ')})`,
    );
    await client.query(`insert into ${table} ${columns} values ${places.join(', ')}`, pending.flat());
    rows += pending.length;
    pending = [];
  };
  for await (const spelled of spelledRows(load, url)) {
    pending.push(...spelled);
    if (pending.length >= ROWS_PER_INSERT) await flush();
  }
  await flush();
  return rows;
};

/** Rows per second of each naive way. */
export const naiveRates = async (load: BenchLoad, pool: Pool, url: string): Promise<[string, number][]> => {
  const rates: [string, number][] = [];
  for (const [name, way] of [
    ['naive text COPY', textCopy],
    ['naive batched INSERT', batchedInsert],
  ] as const) {
    await load.reset(pool);
    const started = performance.now();
    const rows = await withClient(pool, (client) => way(load, client, url));
    rates.push([name, rows / ((performance.now() - started) / 1000)]);
  }
  return rates;
};
