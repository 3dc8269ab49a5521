/** The `transfers` load: each row becomes signed balance changes by a list of rules such as `to:+amount, from:-amount`. */
import type { Schema } from 'apache-arrow';
import { createChangeBuffer, type ChangeBuffer } from '../arrow/changes.ts';
import { createLeafOf, type LeafOf } from '../arrow/hash-leaf.ts';
import { recycleFrame } from '../arrow/frame.ts';
import { copyIn } from '../db/copy-in.ts';
import type { Client, Pool } from '../db/query.ts';
import type { TransfersConfig } from '../runtime/config.ts';
import { WarehouseError } from '../runtime/errors.ts';
import {
  foldDeferred,
  foldLive,
  makeWeeksWritable,
  PERIOD_US,
  stageDeltas,
  takeBackChanges,
} from './balances.ts';
import { createAssetBook, writeAssets } from './assets.ts';
import { copyApart, createWeekOpener, weeksApart, type WeekOpener } from './backfill/router.ts';
import { addCounts, createPrepared, NOTHING, type Dataset, type LoadBuffer } from './datasets.ts';
import { openWeeks, refuseDropped, type WeekKeeper } from './partitions/ensure.ts';
import { quarantine, type Refused } from './quarantine.ts';
import { createRowCounter } from './row-counter.ts';
import type { RangeCount } from './state/store.ts';
import { unknownColumns } from './target-table.ts';
import { appendRows, parseRule, rowsByPlace, type Reading } from './transfer-rows.ts';
import { loadWholeUnits } from './whole-units.ts';

/** The partition set that takes balance changes. */
const SET = 'balance_changes';

const COPY = `copy strata.balance_changes (account_address, asset_id, block_time, block_num, ordinal, source_id, delta)
  from stdin (format binary)`;

/** All that is opened by `prepare`. */
interface Opened {
  readonly weeks: WeekKeeper;
  readonly balanceWeeks: WeekKeeper;
  readonly reading: Reading;
  readonly leafOf: LeafOf;
}

interface TransferBuffer extends LoadBuffer {
  readonly changes: ReadonlyMap<number, ChangeBuffer>;
  readonly weeks: ReadonlySet<number>;
  readonly refused: readonly Refused[];
}

/** The more changes are sorted together, the faster the b-tree takes them. */
const PART_ROWS = 200_000;

/**
 * The dataset of one configured stream.
 *
 * @param now the present instant: rows later than now + the set's `window_ahead` are quarantined
 * @param bulk load weeks of the past that have no data yet beside the set; only with `fold: deferred`
 */
export const createTransfers = (
  pool: Pool,
  stream: string,
  config: TransfersConfig,
  now: Date,
  bulk = false,
): Dataset => {
  const opener: WeekOpener | null = bulk ? createWeekOpener(pool, now) : null;
  /** Whether the transaction has changed anything but weeks that stand beside the set. */
  let inSet = false;
  const { get, set } = createPrepared<Opened>();
  return {
    partRows: PART_ROWS,
    definition: {
      stream,
      load: 'transfers',
      target: `strata.${SET}`,
      grain: config.grain,
      definition: config,
    },
    sets: () => Promise.resolve(['account_balances', SET]),
    prepare: async (schema) => {
      requireColumns(schema, config);
      const weeks = await openWeeks(pool, SET, now);
      const reading = {
        stream,
        config,
        rules: config.rules.map(parseRule),
        assets: createAssetBook(config.standard),
        wholeUnits: await loadWholeUnits(pool, config.standard),
        window: weeks.window,
        counter: createRowCounter(),
      };
      const balanceWeeks = await openWeeks(pool, 'account_balances', now);
      set({ weeks, balanceWeeks, reading, leafOf: createLeafOf(weeks.modulus) });
    },
    createBuffer: () => createTransferBuffer(get(), bulk),
    reserve: async (buffer, open) => {
      const { weeks } = buffer as TransferBuffer;
      const others = opener === null ? weeks : weeks.difference(await opener.open(weeks));
      await get().weeks.ensure(others, open);
      await get().balanceWeeks.ensure(others, open);
    },
    write: async (client, buffer) => {
      inSet = (await writeTransfers(client, buffer as TransferBuffer, config, bulk)) || inSet;
    },
    settle: async (client, entries) => {
      // All at once and last: two loaders that met the same new assets part by part would deadlock.
      await writeAssets(client, get().reading.assets.takeNew(), { grain: config.grain, observed: false });
      // Weeks beside the set are kept from retention, and folded whole: nobody need be waited for.
      if (bulk && !inSet) return;
      inSet = false;
      await refuseDropped(client, SET, entries);
      await (config.fold === 'live' ? foldLive : foldDeferred)(client, entries);
    },
    makeErasable: (span) => makeWeeksWritable(pool, SET, span),
    erase: (client, sourceId, span, from, to) => {
      inSet = true;
      return takeBackChanges(client, sourceId, span, from, to);
    },
  };
};

/** Refuses a mapping that names columns the query does not give out, all of them at once. */
const requireColumns = (schema: Schema, config: TransfersConfig): void => {
  const ofRules = config.rules.map(parseRule).flatMap(({ account, amount }) => [account, amount]);
  const optional = [config.token_id, config.ordinal, config.network_column].filter(
    (column) => column !== undefined,
  );
  const named = [config.block, config.time, config.asset, ...optional, ...ofRules];
  const given = new Set(schema.fields.map((field) => field.name));
  const missing = [...new Set(named)].filter((column) => !given.has(column));
  if (missing.length > 0) throw unknownColumns(missing, schema);
};

const createTransferBuffer = ({ reading, leafOf }: Opened, bulk: boolean): TransferBuffer => {
  const changes = new Map<number, ChangeBuffer>();
  const weeks = new Set<number>();
  const refused: Refused[] = [];
  const changesOf = (sourceId: number): ChangeBuffer => {
    const found = changes.get(sourceId) ?? createChangeBuffer({ leafOf });
    changes.set(sourceId, found);
    return found;
  };
  return {
    changes,
    weeks,
    refused,
    get rows() {
      return changes.values().reduce((rows, buffer) => rows + buffer.count, 0);
    },
    append: (batch, places) => {
      const counts = new Map<string, RangeCount>();
      for (const [place, rows] of rowsByPlace(batch, places, reading.config.network_column)) {
        const count = appendRows(reading, batch, rows, place, {
          changes: changesOf(place.sourceId),
          weeks,
          refused,
        });
        counts.set(place.range.network, addCounts(counts.get(place.range.network) ?? NOTHING, count));
      }
      return counts;
    },
    prepare: () => {
      // What goes to weeks beside the set need not be sorted at all.
      if (bulk) return;
      for (const buffer of changes.values()) buffer.sort();
    },
    clear: () => {
      for (const buffer of changes.values()) buffer.clear();
      weeks.clear();
      refused.length = 0;
    },
  };
};

/** Writes the buffer; says whether any of it went into the set. */
const writeTransfers = async (
  client: Client,
  buffer: TransferBuffer,
  config: TransfersConfig,
  bulk: boolean,
): Promise<boolean> => {
  const tables = await weeksApart(client, buffer.weeks, bulk);
  let inSet = false;
  for (const [sourceId, changes] of buffer.changes) {
    if (changes.count === 0) continue;
    const parts = tables.size === 0 ? null : changes.parts(new Set(tables.keys()));
    if (parts !== null) await copyApart(client, sourceId, changes, parts.apart, tables);
    if (parts?.others.length === 0) continue;
    inSet = true;
    await writeInSet(client, sourceId, changes, parts?.others, config);
  }
  await quarantine(client, buffer.refused);
  return inSet;
};

/** Copies changes (those of `part`, or all) into the set, and stages what the fold needs. Until a week is attached none of its rows is. */
const writeInSet = async (
  client: Client,
  sourceId: number,
  changes: ChangeBuffer,
  part: Uint32Array | undefined,
  { grain, fold }: TransfersConfig,
): Promise<void> => {
  await copyIn(client, COPY, changes.frames(sourceId, part), { onSent: recycleFrame }).catch(
    explainDuplicate,
  );
  if (fold === 'live') await stageDeltas(client, changes.deltas(PERIOD_US[grain], part));
};

/** SQLSTATE unique_violation. */
const UNIQUE_VIOLATION = '23505';

const explainDuplicate = (thrown: unknown): never => {
  const sqlstate =
    thrown instanceof WarehouseError ? thrown.detail.sqlstate : (thrown as { code?: string }).code;
  if (sqlstate !== UNIQUE_VIOLATION) throw thrown;
  throw new WarehouseError(
    'data',
    'two rows make the same balance change: same account, asset, time, block and position',
    { sqlstate, remedy: 'Map `ordinal` to a column that is unique within a block, such as log_index.' },
    thrown,
  );
};
