/**
 * Loads prices of assets from a CSV file into strata.prices, in one transaction.
 *
 * ```
 *   asset,time,usd
 *   USDX,2026-01-31T12:00:00Z,1.0002
 * ```
 */
import { sql } from 'kysely';
import { withTransaction } from '../db/pool.ts';
import { on, type Client, type Pool } from '../db/query.ts';
import { WarehouseError } from '../runtime/errors.ts';
import { nearest } from '../runtime/nearest.ts';
import { findAsset } from './analytics/assets.ts';
import { instantOf } from './analytics/parameters.ts';
import type { CsvRecord } from './labels/csv.ts';
import { openFile } from './labels/reading.ts';

/** A file of prices. */
export interface AddPricesOptions {
  /** Its bytes. */
  readonly source: AsyncIterable<Uint8Array>;
  /** What to call it in errors, and in strata.prices.source. */
  readonly fileName: string;
}

/** What was loaded. */
export interface AddedPrices {
  /** Rows of the file; a later price of the same asset and time takes the place of an earlier one. */
  readonly rows: number;
  readonly assets: number;
}

/** Rows sent at a time. */
const CHUNK_ROWS = 10_000;
const COLUMNS = ['asset', 'time', 'usd'] as const;
const PRICE = /^\d{1,60}(?:\.\d{1,60})?$/;

interface PriceRow {
  readonly assetId: string;
  readonly at: string;
  readonly usd: string;
}

/**
 * Loads a CSV file (UTF-8, a header) with the columns `asset` (id, key or symbol), `time` (UTC where it names no zone) and
 * `usd`, the price of one whole unit. A price that is there already for that time is replaced.
 *
 * @throws WarehouseError `data` with file and line for what cannot be taken: then nothing is loaded
 */
export const addPrices = (pool: Pool, options: AddPricesOptions): Promise<AddedPrices> =>
  withTransaction(pool, async (client) => {
    const file = await openFile(options.source);
    const places = placesOf(file.header, options.fileName);
    const ids = new Map<string, string>();
    let rows = 0;
    let chunk: PriceRow[] = [];
    const flush = async (): Promise<void> => {
      await store(client, chunk, options.fileName);
      chunk = [];
    };
    const take = async (records: readonly CsvRecord[]): Promise<void> => {
      for (const record of records) {
        chunk.push(await rowOf(client, record, places, ids, options.fileName));
        rows++;
        if (chunk.length === CHUNK_ROWS) await flush();
      }
    };
    await take(file.first);
    for await (const records of file.rest) await take(records);
    await flush();
    return { rows, assets: new Set(ids.values()).size };
  });

type Places = Readonly<Record<(typeof COLUMNS)[number], number>>;

const placesOf = (header: CsvRecord, file: string): Places => {
  const names = header.fields.map((field) => field ?? '');
  const missing = COLUMNS.filter((column) => !names.includes(column));
  const [first] = missing;
  if (first === undefined)
    return { asset: names.indexOf('asset'), time: names.indexOf('time'), usd: names.indexOf('usd') };
  const meant = nearest(first, names);
  throw new WarehouseError('data', `${file}: the header has no column ${missing.join(', ')}`, {
    line: header.line,
    remedy: `Name the columns asset, time and usd${meant === undefined ? '' : `; ${meant} may be meant for ${first}`}.`,
  });
};

const rowOf = async (
  client: Client,
  { fields, line }: CsvRecord,
  places: Places,
  ids: Map<string, string>,
  file: string,
): Promise<PriceRow> => {
  const [asset, time, usd] = [
    fields[places.asset] ?? '',
    fields[places.time] ?? '',
    fields[places.usd] ?? '',
  ];
  const refuse = (column: string, value: string, wants: string): WarehouseError =>
    new WarehouseError('data', `${file}, line ${line}: ${JSON.stringify(value)} is no ${wants}`, {
      line,
      column,
      remedy: 'Mend the line; nothing was loaded.',
    });
  const at = instantOf(time);
  if (at === undefined || at === 'now') throw refuse('time', time, 'instant, such as 2026-01-31T12:00:00Z');
  if (!PRICE.test(usd)) throw refuse('usd', usd, 'price, such as 1.0002');
  const known = ids.get(asset);
  if (known !== undefined) return { assetId: known, at, usd };
  const assetId = await findAsset(client, asset).catch((thrown: unknown) => {
    if (!(thrown instanceof WarehouseError) || thrown.kind !== 'usage') throw thrown;
    throw new WarehouseError(
      'data',
      `${file}, line ${line}: ${thrown.message}`,
      { ...thrown.detail, line },
      thrown,
    );
  });
  ids.set(asset, assetId);
  return { assetId, at, usd };
};

const store = async (client: Client, rows: readonly PriceRow[], file: string): Promise<void> => {
  await sql`
    insert into strata.prices (asset_id, priced_at, usd, source)
    select distinct on (u.asset_id, u.priced_at) u.asset_id, u.priced_at, u.usd, ${file}
      from unnest(${rows.map(({ assetId }) => assetId)}::bigint[], ${rows.map(({ at }) => at)}::timestamptz[],
                  ${rows.map(({ usd }) => usd)}::numeric[]) with ordinality u (asset_id, priced_at, usd, place)
     order by u.asset_id, u.priced_at, u.place desc
    on conflict (asset_id, priced_at) do update set usd = excluded.usd, source = excluded.source`.execute(
    on(client),
  );
};
