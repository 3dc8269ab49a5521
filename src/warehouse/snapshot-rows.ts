/** From the columns of a record batch to rows of `snapshot_rows`: times checked, assets named, positions counted. */
import { Binary, Field, Int32, Int64, makeData, RecordBatch, Schema, Struct } from 'apache-arrow';
import type { Data } from 'apache-arrow';
import { createCopyEncoder, type CopyEncoder } from '../arrow/copy.ts';
import { accountField, amountField, integerField, timeField } from '../arrow/fields.ts';
import type { AmountField, BytesField, NumberField } from '../arrow/fields.ts';
import { findField } from '../arrow/source-field.ts';
import { requireConversion, type PgType } from '../arrow/types.ts';
import { WarehouseError } from '../runtime/errors.ts';
import { weekOf } from '../runtime/instant.ts';
import type { AssetBook, AssetId } from './assets.ts';
import { addCounts, NOTHING, type RangePlace } from './datasets.ts';
import { outsideReason, type SaneWindow } from './partitions/ensure.ts';
import { rowAsJson, type Refused } from './quarantine.ts';
import { jsonCheck, type SnapshotColumns } from './snapshot-columns.ts';
import type { RangeCount } from './state/store.ts';
import { fractionReason, hasFraction, type WholeUnits } from './whole-units.ts';

/** The columns of `pg_temp.snapshot_stage`, in the order they are written. */
export const STAGE_COLUMNS = [
  'account_address',
  'asset_id',
  'observed_at',
  'block_num',
  'ordinal',
  'source_id',
  'balance',
  'usd_value',
  'data',
] as const;

/** What the rows of a stream are read with: the same for all its batches. */
export interface SnapshotReading {
  readonly stream: string;
  readonly columns: SnapshotColumns;
  readonly assets: AssetBook;
  readonly wholeUnits: WholeUnits;
  readonly window: SaneWindow;
  /** Snapshots before this are settled: what they would compete with is no longer retained. */
  readonly settledBefore: number;
  readonly encoder: CopyEncoder;
  readonly nextOrdinal: (place: RangePlace) => number;
}

/** Where frames, the weeks they need and refused rows go. */
export interface SnapshotSink {
  readonly frames: Buffer[];
  readonly weeks: Set<number>;
  readonly refused: Refused[];
}

/** Columns of the stage that the query gives, each with its name there. */
const takenColumns = ({ time, block, balance, usdValue, data }: SnapshotColumns): [string, string][] =>
  Object.entries({ observed_at: time, block_num: block, balance, usd_value: usdValue, data }).flatMap(
    ([name, source]) => (source === null ? [] : [[name, source]]),
  );

const stageSchema = (schema: Schema, columns: SnapshotColumns): Schema =>
  new Schema([
    new Field('account_address', new Binary(), false),
    new Field('asset_id', new Int64(), false),
    new Field('ordinal', new Int32(), false),
    ...takenColumns(columns).map(
      ([name, source]) => new Field(name, findField(schema, source).field.type, true),
    ),
  ]);

const NO_BYTES = new Uint8Array(0);

const STAGE_TYPES: Readonly<Record<(typeof STAGE_COLUMNS)[number], PgType>> = {
  account_address: 'bytea',
  asset_id: 'bigint',
  observed_at: 'timestamptz',
  block_num: 'bigint',
  ordinal: 'integer',
  source_id: 'smallint',
  balance: 'numeric',
  usd_value: 'numeric',
  data: 'jsonb',
};

/**
 * The encoder of the stage for batches of this schema.
 *
 * @throws WarehouseError `data` for a column whose type cannot become an exact amount, a time or JSON
 */
export const createStageEncoder = (schema: Schema, columns: SnapshotColumns): CopyEncoder => {
  const sources = new Map(takenColumns(columns));
  for (const [name, source] of sources)
    requireConversion(findField(schema, source).field, STAGE_TYPES[name as keyof typeof STAGE_TYPES]);
  const made = new Set<string>(['account_address', 'asset_id', 'ordinal']);
  return createCopyEncoder(stageSchema(schema, columns), {
    columns: STAGE_COLUMNS.map((name) => ({
      // Faults are told with the query's own names.
      name: sources.get(name) ?? name,
      source: made.has(name) || sources.has(name) ? name : { constant: name === 'block_num' ? 0 : null },
      pgType: STAGE_TYPES[name],
      nullable: name !== 'source_id',
    })),
  });
};

/** The columns of one record batch, bound once. */
interface Columns {
  readonly block: NumberField | null;
  readonly time: NumberField;
  readonly account: BytesField;
  readonly asset: BytesField;
  readonly balance: AmountField;
  readonly requireJson: (row: number) => void;
}

const bindColumns = (batch: RecordBatch, { columns }: SnapshotReading): Columns => ({
  block: columns.block === null ? null : integerField(batch, columns.block),
  time: timeField(batch, columns.time),
  account: accountField(batch, columns.account),
  asset: accountField(batch, columns.asset),
  balance: amountField(batch, columns.balance),
  requireJson: jsonCheck(batch, columns.data),
});

/** What is made of the rows of a batch before they are encoded; places of rows that are not kept stay empty. */
interface Prepared {
  readonly kept: number[];
  readonly accounts: Uint8Array[];
  readonly assets: BigInt64Array;
  readonly ordinals: Int32Array;
}

/**
 * Encodes the rows of a batch that belong to `place`.
 *
 * @param rows indices of the rows; null for all
 * @throws WarehouseError `data` naming stream, block, column and row of a value that is no observation
 */
export const appendSnapshots = (
  reading: SnapshotReading,
  batch: RecordBatch,
  rows: readonly number[] | null,
  place: RangePlace,
  sink: SnapshotSink,
): RangeCount => {
  const columns = bindColumns(batch, reading);
  const prepared: Prepared = {
    kept: [],
    accounts: Array.from({ length: batch.numRows }, () => NO_BYTES),
    assets: new BigInt64Array(batch.numRows),
    ordinals: new Int32Array(batch.numRows),
  };
  const { network, start } = place.range;
  const explain = (thrown: unknown, row: number): unknown => {
    if (!(thrown instanceof WarehouseError)) return thrown;
    const hasBlock = columns.block !== null && !columns.block.isNull(row);
    const block = hasBlock ? columns.block.at(row) : start;
    const detail = { ...thrown.detail, stream: reading.stream, network, block, row };
    return new WarehouseError(thrown.kind, thrown.message, detail, thrown.cause);
  };
  const total = rows === null ? batch.numRows : rows.length;
  let count = NOTHING;
  for (let index = 0; index < total; index++) {
    const row = rows === null ? index : rows[index]!;
    try {
      count = addCounts(count, prepareRow(reading, columns, batch, row, place, prepared, sink));
    } catch (thrown) {
      throw explain(thrown, row);
    }
  }
  const stage = stageBatch(reading, batch, prepared);
  for (const [first, end] of neighbours(prepared.kept)) {
    try {
      for (const frame of reading.encoder.encode(stage.slice(first, end), {
        source_id: place.sourceId,
        block_num: start,
      }))
        sink.frames.push(trimmed(frame));
    } catch (thrown) {
      // The encoder counts from the start of the slice it was given.
      throw explain(thrown, first + (thrown instanceof WarehouseError ? (thrown.detail.row ?? 0) : 0));
    }
  }
  return count;
};

const prepareRow = (
  reading: SnapshotReading,
  columns: Columns,
  batch: RecordBatch,
  row: number,
  place: RangePlace,
  prepared: Prepared,
  sink: SnapshotSink,
): RangeCount => {
  const { sourceId, range } = place;
  const names = reading.columns;
  const block = columns.block === null ? range.start : required(columns.block, row, names.block ?? '');
  if (block < range.start || block > range.end) {
    throw new WarehouseError(
      'protocol',
      `a row of block ${block} came with the range ${range.start}–${range.end}`,
      {
        ...(names.block === null ? {} : { column: names.block }),
        remedy: 'Check that `block` names the column the server counts its ranges by.',
      },
    );
  }
  const time = required(columns.time, row, names.time);
  if (columns.account.isNull(row)) throw nullValue(names.account);
  if (columns.asset.isNull(row)) throw nullValue(names.asset);
  if (columns.balance.isNull(row)) throw nullValue(names.balance);
  columns.requireJson(row);
  const ordinal = reading.nextOrdinal(place);
  columns.asset.seek(row);
  const { bytes, start, end } = columns.asset;
  const asset = reading.assets.idOf(range.network, bytes, start, end, null, false);
  const reason = refusal(reading, columns, row, time, asset);
  if (reason !== null) {
    sink.refused.push({ sourceId, block, reason, detail: rowAsJson(batch, row) });
    return { ...NOTHING, quarantined: 1 };
  }
  columns.account.seek(row);
  prepared.kept.push(row);
  prepared.accounts[row] = columns.account.bytes.slice(columns.account.start, columns.account.end);
  prepared.assets[row] = (BigInt(asset.high) << 32n) | BigInt(asset.low >>> 0);
  prepared.ordinals[row] = ordinal;
  sink.weeks.add(weekOf(time));
  return { rows: 1, quarantined: 0, minTime: time, maxTime: time };
};

/** Why a row has no place among the balances; null when it has one. */
const refusal = (
  { columns, window, settledBefore, wholeUnits }: SnapshotReading,
  { balance }: Columns,
  row: number,
  time: number,
  asset: AssetId,
): string | null => {
  const outside = outsideReason(window, time, columns.time, 'account_balances');
  if (outside !== null) return outside;
  if (time < settledBefore) return `${columns.time} lies before the snapshots that are retained`;
  if (wholeUnits.any && wholeUnits.has(asset) && hasFraction(balance, row))
    return fractionReason(columns.balance);
  return null;
};

const required = (field: NumberField, row: number, column: string): number => {
  if (field.isNull(row)) throw nullValue(column);
  return field.at(row);
};

const nullValue = (column: string): WarehouseError =>
  new WarehouseError('data', `column ${column} is null, which a snapshot cannot be`, {
    column,
    remedy: 'Filter such rows in the query, or give a value with coalesce().',
  });

/** The rows as the stage has them: our own columns before those of the query. */
const stageBatch = (
  { columns }: SnapshotReading,
  batch: RecordBatch,
  { accounts, assets, ordinals }: Prepared,
): RecordBatch => {
  const length = batch.numRows;
  const valueOffsets = new Int32Array(length + 1);
  for (const [row, account] of accounts.entries())
    valueOffsets[row + 1] = valueOffsets[row]! + account.length;
  const made: Data[] = [
    makeData({ type: new Binary(), length, nullCount: 0, valueOffsets, data: Buffer.concat(accounts) }),
    makeData({ type: new Int64(), length, nullCount: 0, data: assets }),
    makeData({ type: new Int32(), length, nullCount: 0, data: ordinals }),
  ];
  const taken = takenColumns(columns).map(
    ([, source]) => batch.data.children[findField(batch.schema, source).index]!,
  );
  const schema = stageSchema(batch.schema, columns);
  return new RecordBatch(
    schema,
    makeData({ type: new Struct(schema.fields), length, nullCount: 0, children: [...made, ...taken] }),
  );
};

/** A frame without the room it was opened with: many small batches may wait for one commit. */
const trimmed = (frame: Buffer): Buffer =>
  frame.buffer.byteLength > 2 * frame.length ? Buffer.from(frame) : frame;

/** Runs of neighbouring rows as [first, end). */
const neighbours = (rows: readonly number[]): [number, number][] => {
  const result: [number, number][] = [];
  for (const row of rows) {
    const last = result.at(-1);
    if (last !== undefined && last[1] === row) last[1] = row + 1;
    else result.push([row, row + 1]);
  }
  return result;
};
