/** What the `rows` load gathers: record batches as they came, cut only where rows are refused. */
import type { RecordBatch } from 'apache-arrow';
import { integerField, timeField } from '../arrow/fields.ts';
import type { RowsConfig } from '../runtime/config.ts';
import { WarehouseError, withDetail } from '../runtime/errors.ts';
import { weekOf } from '../runtime/instant.ts';
import { addCounts, NOTHING, type LoadBuffer, type RangePlace } from './datasets.ts';
import { outsideReason, type WeekKeeper } from './partitions/ensure.ts';
import { rowAsJson, type Refused } from './quarantine.ts';
import type { RangeCount } from './state/store.ts';
import { BLOCK_COLUMN } from './target-table.ts';
import { rowsByPlace } from './transfer-rows.ts';

/** Rows of one range, as they came. */
export interface Piece {
  readonly batch: RecordBatch;
  readonly place: RangePlace;
}

/** What is gathered for one COPY, and what is refused beside it. */
export interface RowsBuffer extends LoadBuffer {
  readonly pieces: readonly Piece[];
  readonly weeks: ReadonlySet<number>;
  readonly refused: readonly Refused[];
}

/** The block of a row that is at fault; the first of its range where the row does not say. */
export const blockOf = (batch: RecordBatch, row: number | undefined, place: RangePlace): number => {
  const field = batch.schema.fields.find(
    (candidate) => candidate.name === BLOCK_COLUMN || candidate.name === 'block_num',
  );
  return field === undefined || row === undefined
    ? place.range.start
    : Number(batch.getChild(field.name)?.get(row) ?? place.range.start);
};

/**
 * An empty buffer.
 *
 * @param keeper of the table's weeks; null where it has none
 */
export const createRowsBuffer = (
  stream: string,
  config: RowsConfig,
  hasBlocks: boolean,
  keeper: WeekKeeper | null,
): RowsBuffer => {
  const pieces: Piece[] = [];
  const weeks = new Set<number>();
  const refused: Refused[] = [];
  let rows = 0;
  const take = (batch: RecordBatch, place: RangePlace): RangeCount => {
    if (batch.numRows === 0) return NOTHING;
    const inspected = inspect(batch, place, config, hasBlocks, keeper);
    for (const week of inspected.weeks) weeks.add(week);
    refused.push(...inspected.refused);
    pieces.push(...inspected.kept.map((kept) => ({ batch: kept, place })));
    rows += inspected.count.rows;
    return inspected.count;
  };
  return {
    pieces,
    weeks,
    refused,
    get rows() {
      return rows;
    },
    append: (batch, places) => {
      const counts = new Map<string, RangeCount>();
      try {
        for (const [place, indices] of rowsByPlace(batch, places, config.network_column)) {
          for (const part of indices === null ? [batch] : slices(batch, indices)) {
            counts.set(
              place.range.network,
              addCounts(counts.get(place.range.network) ?? NOTHING, take(part, place)),
            );
          }
        }
      } catch (thrown) {
        if (!(thrown instanceof WarehouseError)) throw thrown;
        throw withDetail(thrown, {
          stream,
          ...(places[0] ? { network: places[0].range.network, block: places[0].range.start } : {}),
        });
      }
      return counts;
    },
    prepare: () => undefined,
    clear: () => {
      pieces.length = 0;
      weeks.clear();
      refused.length = 0;
      rows = 0;
    },
  };
};

/** A record batch looked through: which rows to load, which weeks they need, what was refused. */
interface Inspected {
  readonly kept: readonly RecordBatch[];
  readonly weeks: ReadonlySet<number>;
  readonly refused: readonly Refused[];
  readonly count: RangeCount;
}

const inspect = (
  batch: RecordBatch,
  place: RangePlace,
  config: RowsConfig,
  hasBlocks: boolean,
  keeper: WeekKeeper | null,
): Inspected => {
  if (hasBlocks) checkBlocks(batch, place, config.block);
  if (config.partition === undefined || keeper === null) {
    return { kept: [batch], weeks: new Set(), refused: [], count: { ...NOTHING, rows: batch.numRows } };
  }
  const column = config.columns?.[config.partition.time] ?? config.partition.time;
  const time = timeField(batch, column);
  const weeks = new Set<number>();
  const sane: number[] = [];
  const refused: Refused[] = [];
  let minTime = Infinity;
  let maxTime = -Infinity;
  for (let row = 0; row < batch.numRows; row++) {
    const at = time.isNull(row) ? null : time.at(row);
    const reason = at === null ? `${column} is null` : outsideReason(keeper.window, at, column, config.table);
    if (at === null || reason !== null) {
      refused.push({
        sourceId: place.sourceId,
        block: blockOf(batch, row, place),
        reason: reason ?? '',
        detail: rowAsJson(batch, row),
      });
      continue;
    }
    sane.push(row);
    weeks.add(weekOf(at));
    minTime = Math.min(minTime, at);
    maxTime = Math.max(maxTime, at);
  }
  const kept = refused.length === 0 ? [batch] : slices(batch, sane);
  const times = sane.length === 0 ? {} : { minTime, maxTime };
  return {
    kept,
    weeks,
    refused,
    count: { ...NOTHING, ...times, rows: sane.length, quarantined: refused.length },
  };
};

const checkBlocks = (batch: RecordBatch, { range }: RangePlace, column: string): void => {
  const block = integerField(batch, column);
  for (let row = 0; row < batch.numRows; row++) {
    const at = block.isNull(row) ? null : block.at(row);
    if (at === null || at < range.start || at > range.end) {
      throw new WarehouseError(
        'protocol',
        `a row of block ${at ?? 'null'} came with the range ${range.start}–${range.end}`,
        {
          row,
          column,
          remedy: 'Check that `block` names the column the server counts its ranges by.',
        },
      );
    }
  }
};

/** The given rows of a batch, as slices of neighbours. */
const slices = (batch: RecordBatch, indices: readonly number[]): RecordBatch[] => {
  const result: RecordBatch[] = [];
  for (let start = 0; start < indices.length;) {
    let end = start + 1;
    while (end < indices.length && indices[end] === indices[end - 1]! + 1) end++;
    result.push(batch.slice(indices[start], indices[end - 1]! + 1));
    start = end;
  }
  return result;
};
