/**
 * `/metrics`: what the database knows of streams, partitions and maintenance, and what this process knows of itself.
 *
 * Everything is read when it is asked for, so whatever happens elsewhere shows here. The counters of `pgstrata_ingest_*` are
 * those of the process that loads a stream, as it last wrote them down (at the latest 15 s ago); they begin again with it.
 */
import { collectDefaultMetrics, Counter, Gauge, Registry } from 'prom-client';
import type { Pool } from '../db/query.ts';
import type { Reader } from '../db/reader.ts';
import { countConnections, countConsolidations, countRuns } from '../warehouse/page/journal.ts';
import type { Board } from './board.ts';
import { createCell } from './cell.ts';
import { HISTOGRAMS, registerHistogram } from './histograms.ts';
import { METRICS, type Facts, type Metric } from './metric-list.ts';

/** How old what a scrape gets may be. */
const FRESH_MS = 5000;

/** Answers scrapes. */
export interface Metrics {
  readonly contentType: string;
  /** The text of one scrape; where the database does not answer it says so by `pgstrata_database_up`. */
  scrape(): Promise<string>;
}

/** Where the metrics come from. */
export interface MetricsOptions {
  readonly reader: Reader;
  readonly board: Board;
  readonly pool: Pool;
  readonly version: string;
}

/** The metrics of a page server. */
export const createMetrics = ({ reader, board, pool, version }: MetricsOptions): Metrics => {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const own = <Name extends string>(name: string, help: string, labelNames: Name[] = []): Gauge<Name> =>
    new Gauge({ name, help, labelNames, registers: [registry] });
  own('pgstrata_build_info', 'Always 1; the version is a label', ['version']).set({ version }, 1);
  const up = own('pgstrata_database_up', 'Whether the database answered this scrape');
  const viewers = own('pgstrata_page_viewers', 'Browsers that look at the page');
  const open = own('pgstrata_pool_connections', 'Connections of this process', ['state']);
  const waiting = own('pgstrata_pool_waiting', 'Requests that wait for a connection of this process');
  const written = METRICS.map((metric) => ({ metric, instrument: instrumentOf(metric, registry) }));
  const histograms = HISTOGRAMS.map((histogram) => registerHistogram(histogram, registry));
  const journal = createCell(
    () =>
      reader.read(async (client) => ({
        runs: await countRuns(client),
        consolidations: await countConsolidations(client),
        connections: await countConnections(client),
      })),
    FRESH_MS,
  );
  const read = async (): Promise<Facts> => {
    const [streams, map, alerts, rest] = await Promise.all([
      board.sections.streams.get(),
      board.sections.map.get(),
      board.sections.alerts.get(),
      journal.get(),
    ]);
    return { streams, map, alerts, ...rest };
  };
  return {
    contentType: registry.contentType,
    scrape: async () => {
      const facts = await read().catch(() => null);
      up.set(facts === null ? 0 : 1);
      viewers.set(board.viewers());
      open.set({ state: 'busy' }, pool.totalCount - pool.idleCount);
      open.set({ state: 'idle' }, pool.idleCount);
      waiting.set(pool.waitingCount);
      for (const { metric, instrument } of written) fill(metric, instrument, facts);
      for (const set of histograms) set(facts);
      return registry.metrics();
    },
  };
};

const instrumentOf = ({ kind, name, help, labels }: Metric, registry: Registry): Gauge | Counter =>
  new (kind === 'gauge' ? Gauge : Counter)({ name, help, labelNames: [...labels], registers: [registry] });

const fill = ({ samples }: Metric, instrument: Gauge | Counter, facts: Facts | null): void => {
  instrument.reset();
  for (const [labels, value] of facts === null ? [] : samples(facts))
    if (value !== null && value !== undefined) instrument.inc(labels, value);
};
