/**
 * The `snapshots` load: each row is an observed balance.
 *
 * ```
 *   COPY ──► pg_temp.snapshot_stage ──► snapshot_rows ──fold──► account_balances, account_balances_current
 * ```
 *
 * `snapshot_rows` is the truth and balances are derived from it, key by key, from the first period that a transaction
 * touches. That alone makes every order of arrival, every late row and every reorg end in the same tables.
 */
import type { Schema } from 'apache-arrow';
import { sql } from 'kysely';
import { headerFrame, trailerFrame } from '../arrow/frame.ts';
import { copyIn } from '../db/copy-in.ts';
import { on, type Client, type Pool } from '../db/query.ts';
import type { SnapshotsConfig } from '../runtime/config.ts';
import { instantOf } from '../runtime/instant.ts';
import { createAssetBook, writeAssets } from './assets.ts';
import { addCounts, createPrepared, NOTHING, type Dataset, type LoadBuffer } from './datasets.ts';
import { openWeeks, refuseDropped, type WeekKeeper } from './partitions/ensure.ts';
import { quarantine, type Refused } from './quarantine.ts';
import { createArrivalCounter } from './row-counter.ts';
import { snapshotColumns } from './snapshot-columns.ts';
import { appendSnapshots, createStageEncoder, STAGE_COLUMNS, type SnapshotReading } from './snapshot-rows.ts';
import type { RangeCount } from './state/store.ts';
import { rowsByPlace } from './transfer-rows.ts';
import { loadWholeUnits } from './whole-units.ts';

const STAGE = `copy pg_temp.snapshot_stage (${STAGE_COLUMNS.join(', ')}) from stdin (format binary)`;

interface Opened {
  readonly keepers: readonly WeekKeeper[];
  readonly reading: SnapshotReading;
}

interface SnapshotBuffer extends LoadBuffer {
  readonly frames: readonly Buffer[];
  readonly weeks: ReadonlySet<number>;
  readonly refused: readonly Refused[];
}

/** Nothing is sorted here; enough that a COPY is worth its start. */
const PART_ROWS = 65_536;

/**
 * The dataset of one configured stream.
 *
 * @param hasBlocks false for a server whose results carry no block ranges
 * @param now the present instant: rows later than now + the sets' `window_ahead` are quarantined
 */
export const createSnapshots = (
  pool: Pool,
  stream: string,
  config: SnapshotsConfig,
  hasBlocks: boolean,
  now: Date,
): Dataset => {
  const { grain, only_changes: onlyChanges } = config;
  const { get, set } = createPrepared<Opened>();
  return {
    partRows: PART_ROWS,
    definition: {
      stream,
      load: 'snapshots',
      target: 'strata.account_balances',
      grain,
      definition: config,
    },
    sets: () => Promise.resolve(['account_balances', 'snapshot_rows']),
    prepare: async (schema) => {
      set(await openSnapshots(pool, stream, config, schema, hasBlocks, now));
    },
    createBuffer: () => createSnapshotBuffer(get().reading, config.network_column),
    reserve: async (buffer, open) => {
      for (const keeper of get().keepers) await keeper.ensure((buffer as SnapshotBuffer).weeks, open);
    },
    write: (client, buffer) => writeSnapshots(client, buffer as SnapshotBuffer, grain),
    settle: async (client, entries) => {
      // All at once and last: two loaders that met the same new assets part by part would deadlock.
      await writeAssets(client, get().reading.assets.takeNew(), { grain, observed: true });
      await openStage(client);
      for (const set of ['snapshot_rows', 'account_balances']) await refuseDropped(client, set, entries);
      await sql`select strata.fold_snapshots(${grain}, ${onlyChanges})`.execute(on(client));
    },
    erase: async (client, sourceId, span, from, to) => {
      const { rows } = await sql<{ taken: number }>`
        select strata.take_back_snapshots(${sourceId}::smallint, ${from}, ${to}, ${span.minTime}) as taken`.execute(
        on(client),
      );
      return rows[0]?.taken ?? 0;
    },
  };
};

const openStage = async (client: Client): Promise<void> => {
  await sql`select strata.open_snapshots()`.execute(on(client));
};

const openSnapshots = async (
  pool: Pool,
  stream: string,
  config: SnapshotsConfig,
  schema: Schema,
  hasBlocks: boolean,
  now: Date,
): Promise<Opened> => {
  const columns = snapshotColumns(schema, config, hasBlocks);
  const rows = await openWeeks(pool, 'snapshot_rows', now);
  const balances = await openWeeks(pool, 'account_balances', now);
  return {
    keepers: [rows, balances],
    reading: {
      stream,
      columns,
      assets: createAssetBook(config.standard),
      wholeUnits: await loadWholeUnits(pool, config.standard),
      window: {
        earliest: Math.max(rows.window.earliest, balances.window.earliest),
        latest: Math.min(rows.window.latest, balances.window.latest),
        retainedFrom: Math.max(rows.window.retainedFrom, balances.window.retainedFrom),
      },
      settledBefore: await readSettledBefore(pool),
      encoder: createStageEncoder(schema, columns),
      nextOrdinal: createArrivalCounter(),
    },
  };
};

/** Before this instant snapshots or balances were dropped by retention; −∞ while nothing was. */
const readSettledBefore = async (pool: Pool): Promise<number> => {
  const { rows } = await sql<{ settled: Date | null }>`
    select nullif(greatest(observations_from, opened_before), '-infinity') as settled from strata.balance_status`.execute(
    on(pool),
  );
  const settled = rows[0]?.settled ?? null;
  return settled === null ? -Infinity : instantOf(settled);
};

const createSnapshotBuffer = (
  reading: SnapshotReading,
  networkColumn: string | undefined,
): SnapshotBuffer => {
  const frames: Buffer[] = [];
  const weeks = new Set<number>();
  const refused: Refused[] = [];
  let rows = 0;
  return {
    frames,
    weeks,
    refused,
    get rows() {
      return rows;
    },
    append: (batch, places) => {
      const counts = new Map<string, RangeCount>();
      for (const [place, ofPlace] of rowsByPlace(batch, places, networkColumn)) {
        const count = appendSnapshots(reading, batch, ofPlace, place, { frames, weeks, refused });
        const { network } = place.range;
        counts.set(network, addCounts(counts.get(network) ?? NOTHING, count));
        rows += count.rows;
      }
      return counts;
    },
    prepare: () => undefined,
    clear: () => {
      frames.length = 0;
      weeks.clear();
      refused.length = 0;
      rows = 0;
    },
  };
};

const writeSnapshots = async (
  client: Client,
  buffer: SnapshotBuffer,
  grain: SnapshotsConfig['grain'],
): Promise<void> => {
  if (buffer.frames.length > 0) {
    await openStage(client);
    await copyIn(client, STAGE, [headerFrame(), ...buffer.frames, trailerFrame()]);
    await sql`select strata.store_snapshots(${grain})`.execute(on(client));
  }
  await quarantine(client, buffer.refused);
};
