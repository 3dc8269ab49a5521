/** Snapshots for tests: as record batches, as a plain list, and what the tables must hold of that list, derived the slow way. */
import {
  Field,
  makeData,
  RecordBatch,
  Schema,
  Struct,
  TimestampMicrosecond,
  Uint64,
  Utf8,
  vectorFromArray,
} from 'apache-arrow';
import type { Pool } from '../../src/db/query.ts';

/** One snapshot. */
export interface Observation {
  readonly account: string;
  readonly asset: string;
  /** Microseconds since 1970. */
  readonly time: bigint;
  readonly block: number;
  readonly balance: string;
  readonly usd: string | null;
  /** JSON text. */
  readonly data: string | null;
}

/** A snapshot that is loaded: its position in its range, and the source it came from. */
export interface Loaded extends Observation {
  readonly ordinal: number;
  readonly source: number;
}

/** The snapshots as a Flight server gives them out. */
export const observationBatch = (rows: readonly Observation[]): RecordBatch => {
  const text = (values: readonly (string | null)[]) => vectorFromArray(values, new Utf8()).data[0]!;
  const type = new TimestampMicrosecond('UTC');
  const children = [
    vectorFromArray(
      rows.map(({ block }) => BigInt(block)),
      new Uint64(),
    ).data[0]!,
    makeData({ type, length: rows.length, nullCount: 0, data: BigInt64Array.from(rows, ({ time }) => time) }),
    text(rows.map(({ account }) => account)),
    text(rows.map(({ asset }) => asset)),
    text(rows.map(({ balance }) => balance)),
    text(rows.map(({ usd }) => usd)),
    text(rows.map(({ data }) => data)),
  ];
  const names = ['_block_num', 'timestamp', 'account', 'activity', 'balance', 'usd_value', 'data'];
  const schema = new Schema(names.map((name, index) => new Field(name, children[index]!.type, true)));
  return new RecordBatch(
    schema,
    makeData({ type: new Struct(schema.fields), length: rows.length, nullCount: 0, children }),
  );
};

/** How a stream turns snapshots into rows. */
export interface Derivation {
  readonly grain: 'hour' | 'day';
  readonly onlyChanges: boolean;
}

const PERIOD_US = { hour: 3_600_000_000n, day: 86_400_000_000n } as const;

const floorTo = (time: bigint, size: bigint): bigint => time - (((time % size) + size) % size);

const byArrival = (a: Loaded, b: Loaded): number =>
  Number(a.time - b.time) || a.block - b.block || a.ordinal - b.ordinal || a.source - b.source;

const valueOf = ({ balance, usd, data }: Observation): string => `${balance} ${usd ?? '-'} ${data ?? '-'}`;

/** A key's latest snapshot of each period, in time order. */
const winners = (
  rows: readonly Loaded[],
  grain: 'hour' | 'day',
): (Loaded & { readonly period: bigint })[] => {
  const latest = new Map<bigint, Loaded>();
  for (const row of rows.toSorted(byArrival)) latest.set(floorTo(row.time, PERIOD_US[grain]), row);
  return [...latest]
    .map(([period, row]) => ({ ...row, period }))
    .toSorted((a, b) => Number(a.period - b.period));
};

const byKey = (rows: readonly Loaded[]): Map<string, Loaded[]> =>
  Map.groupBy(rows, ({ account, asset }) => `${account} ${asset}`);

/** The lines of account_balances: `account asset period balance usd data`. */
export const expectedRows = (rows: readonly Loaded[], { grain, onlyChanges }: Derivation): string[] =>
  [...byKey(rows)]
    .flatMap(([key, ofKey]) => {
      let last: string | null = null;
      return winners(ofKey, grain).flatMap((row) => {
        const value = valueOf(row);
        const isStored = !onlyChanges || value !== last;
        last = value;
        return isStored ? [`${key} ${row.period / 1_000_000n} ${value}`] : [];
      });
    })
    .toSorted();

/** What reading the newest row at or before each period gives, for all periods from `from` to `to`: `account asset period value`. */
export const expectedReads = (
  rows: readonly Loaded[],
  grain: 'hour' | 'day',
  from: bigint,
  to: bigint,
): string[] => {
  const lines: string[] = [];
  for (const [key, ofKey] of byKey(rows)) {
    const known = winners(ofKey, grain);
    for (let period = floorTo(from, PERIOD_US[grain]); period <= to; period += PERIOD_US[grain]) {
      const row = known.findLast((candidate) => candidate.period <= period);
      if (row !== undefined) lines.push(`${key} ${period / 1_000_000n} ${valueOf(row)}`);
    }
  }
  return lines.toSorted();
};

/** The lines of account_balances_current: `account asset balance`. */
export const expectedState = (rows: readonly Loaded[], grain: 'hour' | 'day'): string[] =>
  [...byKey(rows)].map(([key, ofKey]) => `${key} ${winners(ofKey, grain).at(-1)!.balance}`).toSorted();

const VALUE = `b.balance::text || ' ' || coalesce(b.usd_value::text, '-') || ' ' || coalesce(b.data::text, '-')`;

const lines = async (pool: Pool, text: string, values: readonly unknown[]): Promise<string[]> => {
  const { rows } = await pool.query<{ line: string }>(text, [...values]);
  return rows.map(({ line }) => line).toSorted();
};

/** The rows of a standard's assets as stored, in the lines of {@link expectedRows}. */
export const storedRows = (pool: Pool, standard: string): Promise<string[]> =>
  lines(
    pool,
    `select concat_ws(' ', strata.account_text(b.account_address), a.asset_key, extract(epoch from b."timestamp")::bigint, ${VALUE}) as line
       from strata.account_balances b join strata.assets a using (asset_id) where a.standard = $1`,
    [standard],
  );

/** The same of the state, in the lines of {@link expectedState}. */
export const storedState = (pool: Pool, standard: string): Promise<string[]> =>
  lines(
    pool,
    `select concat_ws(' ', strata.account_text(b.account_address), a.asset_key, b.balance) as line
       from strata.account_balances_current b join strata.assets a using (asset_id) where a.standard = $1`,
    [standard],
  );

/** What a reader finds period by period, in the lines of {@link expectedReads}. */
export const storedReads = (
  pool: Pool,
  standard: string,
  grain: 'hour' | 'day',
  from: bigint,
  to: bigint,
): Promise<string[]> =>
  lines(
    pool,
    `select distinct on (b.account_address, b.asset_id, p)
            concat_ws(' ', strata.account_text(b.account_address), a.asset_key, extract(epoch from p)::bigint, ${VALUE}) as line
       from strata.account_balances b
       join strata.assets a on a.asset_id = b.asset_id and a.standard = $1
       join generate_series(strata.period_start($2, to_timestamp($3)), to_timestamp($4), ('1 ' || $2)::interval) p on b."timestamp" <= p
      order by b.account_address, b.asset_id, p, b."timestamp" desc`,
    [standard, grain, Number(from / 1_000_000n), Number(to / 1_000_000n)],
  );

/** Whatever `verify` would find wrong with observed balances, the state and the ledger. */
export const findings = async (pool: Pool): Promise<unknown[]> => {
  const { rows } = await pool.query(
    `select problem, asset_id::text, "timestamp", balance::text from strata.verify_snapshots()
     union all select problem, asset_id::text, "timestamp", balance::text from strata.verify_state()
     union all select 'ledger', null, null, source_id::text from strata.verify_ledger()
     union all select problem, asset_id::text, "timestamp", balance::text from strata.verify_rows()
     union all select 'sum', asset_id::text, null, total::text from strata.verify_sums()`,
  );
  return rows;
};
