/** Random histories of snapshots: any order, late, doubled, forked, from two streams; after each commit the tables are the oracle's. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parseConfig } from '../../src/runtime/config.ts';
import type { SnapshotsConfig } from '../../src/runtime/config.ts';
import { createBatchWriter } from '../../src/warehouse/batches.ts';
import type { BatchWriter } from '../../src/warehouse/batches.ts';
import type { Dataset } from '../../src/warehouse/datasets.ts';
import { createSnapshots } from '../../src/warehouse/snapshots.ts';
import { claimStream } from '../../src/warehouse/stream-state.ts';
import { useDatabase } from '../database.ts';
import { expectSame } from '../jobs/oracle.ts';
import { rangeOf } from '../jobs/scripted-server.ts';
import { propertyOptions } from '../seed.ts';
import {
  expectedReads,
  expectedRows,
  expectedState,
  findings,
  observationBatch,
  storedReads,
  storedRows,
  storedState,
} from './observations.ts';
import type { Loaded, Observation } from './observations.ts';

const database = useDatabase();

const NOW = new Date('2026-02-01T00:00:00Z');
/** Saturday 2026-01-03 14:00 UTC: ten hours before a week begins. */
const START_US = 1_767_448_800_000_000n;
const HOURS = 40;
const HOUR_US = 3_600_000_000n;
/** Where in its hour a snapshot may lie: its edges most of all. */
const WITHIN_US = [0n, 1n, 1_800_000_000n, 3_599_999_999n];

const value = fc.record({
  balance: fc.constantFrom(
    '0',
    '1',
    '1',
    '7',
    '-3',
    '12.50',
    '115792089237316195423570985008687907853269984665640564039457584007913129639935',
  ),
  usd: fc.constantFrom(null, null, '1', '0.1'),
  data: fc.constantFrom(null, null, '{"a": 1}', '[1, null]'),
});
const snapshot = fc.record({
  account: fc.constantFrom('0x00000000000000000000000000000000000000aa', 'bech1qqq', 'ann'),
  asset: fc.constantFrom('holding', 'staking'),
  // Now and then weeks apart: further than the fold looks before it turns to the balances.
  hour: fc
    .tuple(fc.integer({ min: 0, max: HOURS - 1 }), fc.constantFrom(0, 0, 0, 0, 0, -4, 3))
    .map(([hour, weeks]) => hour + weeks * 168),
  within: fc.constantFrom(...WITHIN_US),
  value,
});

interface Step {
  readonly stream: 0 | 1;
  /** How many of the stream's last blocks a fork replaces first. */
  readonly forked: number;
  /** Blocks of snapshots; each commit has one or more blocks. */
  readonly blocks: readonly (readonly {
    readonly hour: number;
    readonly within: bigint;
    readonly account: string;
    readonly asset: string;
    readonly value: Pick<Observation, 'balance' | 'usd' | 'data'>;
  }[])[];
  /** Whether the rows come in two parts. */
  readonly parted: boolean;
}

const step: fc.Arbitrary<Step> = fc.record({
  stream: fc.constantFrom(0, 0, 0, 1),
  forked: fc.oneof(
    { weight: 3, arbitrary: fc.constant(0) },
    { weight: 2, arbitrary: fc.integer({ min: 1, max: 4 }) },
  ),
  blocks: fc.array(fc.array(snapshot, { maxLength: 5 }), { minLength: 1, maxLength: 3 }),
  parted: fc.boolean(),
});
const history = fc.record({
  grain: fc.constantFrom('hour' as const, 'hour' as const, 'day' as const),
  onlyChanges: fc.boolean(),
  steps: fc.array(step, { minLength: 1, maxLength: 7 }),
});

/** One stream as a run of `ingest` would load it. */
interface Loader {
  readonly source: number;
  readonly dataset: Dataset;
  readonly writer: BatchWriter;
  /** Next block. */
  next: number;
  fork: number;
}

const openLoader = async (stream: string, settings: object): Promise<Loader> => {
  const text = JSON.stringify({
    servers: { s: { url: 'grpc://localhost:1' } },
    streams: { [stream]: { server: 's', load: 'snapshots', query: 'SELECT 1', ...settings } },
  });
  const config = parseConfig(text, {}).streams[stream] as SnapshotsConfig;
  const dataset = createSnapshots(database.pool, stream, config, true, NOW);
  const writer = createBatchWriter(
    database.pool,
    await claimStream(database.pool, dataset.definition),
    dataset,
  );
  await dataset.prepare(observationBatch([]).schema);
  const [place] = await writer.place([rangeOf(0, 0)], new Set());
  return { source: place!.sourceId, dataset, writer, next: 0, fork: 0 };
};

/** Loads a step as the pipeline would; gives the rows as the oracle is to see them. */
const load = async (
  loader: Loader,
  { forked, blocks, parted }: Step,
): Promise<{ readonly from: number; readonly rows: Loaded[] }> => {
  const from = Math.max(0, loader.next - forked);
  const isFork = from < loader.next;
  const range = rangeOf(from, from + blocks.length - 1, `fork ${(loader.fork += 1)}`);
  const observations = blocks.flatMap((rows, index) =>
    rows.map(({ account, asset, hour, within, value: held }): Observation => ({
      account,
      asset,
      time: START_US + BigInt(hour) * HOUR_US + within,
      block: from + index,
      ...held,
    })),
  );
  if (isFork) await loader.writer.erase({ network: range.network, from, to: null });
  const places = await loader.writer.place([range], new Set());
  let count = { rows: 0, quarantined: 0, minTime: null as number | null, maxTime: null as number | null };
  const cut = parted ? Math.ceil(observations.length / 2) : observations.length;
  for (const part of [observations.slice(0, cut), observations.slice(cut)]) {
    const buffer = loader.dataset.createBuffer();
    for (const found of buffer.append(observationBatch(part), places).values()) {
      const least = [count.minTime, found.minTime].filter((time) => time !== null);
      count = {
        ...found,
        rows: count.rows + found.rows,
        minTime: least.length === 0 ? null : Math.min(...least),
      };
    }
    await loader.writer.write(buffer);
  }
  await loader.writer.commit([{ range, count }]);
  loader.next = range.end + 1;
  return { from, rows: observations.map((row, ordinal) => ({ ...row, ordinal, source: loader.source })) };
};

let histories = 0;

test(
  'tables equal the oracle after every commit, whatever comes in whatever order',
  { timeout: 300_000 },
  async () => {
    await fc.assert(
      fc.asyncProperty(history, async ({ grain, onlyChanges, steps }) => {
        const standard = `activity ${(histories += 1)}`;
        const loaders = [0, 1].map((index) =>
          openLoader(`history_${histories}_${index}`, { standard, grain, only_changes: onlyChanges }),
        );
        let loaded: Loaded[] = [];
        for (const taken of steps) {
          const loader = await loaders[taken.stream]!;
          const { from, rows } = await load(loader, taken).catch(async (thrown: unknown) => {
            await loader.writer.abandon();
            throw thrown;
          });
          loaded = [
            ...loaded.filter(({ source, block }) => source !== loader.source || block < from),
            ...rows,
          ];
          expectSame(await storedRows(database.pool, standard), expectedRows(loaded, { grain, onlyChanges }));
          expectSame(await storedState(database.pool, standard), expectedState(loaded, grain));
        }
        const span = [START_US - HOUR_US, START_US + BigInt(HOURS) * HOUR_US] as const;
        expectSame(
          await storedReads(database.pool, standard, grain, ...span),
          expectedReads(loaded, grain, ...span),
        );
        const { rows } = await database.pool.query<{ stored: number }>(
          'select count(*)::int as stored from strata.snapshot_rows join strata.assets using (asset_id) where standard = $1',
          [standard],
        );
        expect(rows[0]!.stored).toBe(loaded.length);
      }),
      propertyOptions(80),
    );
    expect(await findings(database.pool)).toEqual([]);
  },
);
