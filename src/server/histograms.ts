/** The times of ingest as histograms: counted by the processes that load, so they are only put into the shape that Prometheus reads. */
import type { Histogram as PromHistogram, Registry } from 'prom-client';
import { TIME_EDGES_SECONDS, type StreamWork } from '../warehouse/stream-health.ts';
import type { Facts } from './metric-list.ts';

/** One histogram: what it is called, and which part of a stream's work it counts. */
export interface Histogram {
  readonly name: string;
  readonly help: string;
  readonly part: 'copy' | 'fold' | 'commit';
}

/** The histograms; each has a label `stream`. */
export const HISTOGRAMS: readonly Histogram[] = [
  {
    name: 'pgstrata_ingest_copy_duration_seconds',
    help: 'Time that a transaction spent writing rows',
    part: 'copy',
  },
  {
    name: 'pgstrata_ingest_fold_duration_seconds',
    help: 'Time that a transaction spent bringing balances up to date',
    part: 'fold',
  },
  {
    name: 'pgstrata_ingest_commit_duration_seconds',
    help: 'Time that a transaction took to commit',
    part: 'commit',
  },
];

/** A sample as prom-client writes it out. */
interface Value {
  readonly metricName: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** Samples of one stream; none where its process counts in other classes, or not at all. */
const samplesOf = (
  { name, part }: Histogram,
  stream: string,
  work: Partial<StreamWork> | null,
): readonly Value[] => {
  const counts = work?.[`${part}_times`];
  const sum = work?.[`${part}_seconds`];
  if (counts?.length !== TIME_EDGES_SECONDS.length + 1 || sum === undefined) return [];
  let below = 0;
  const buckets = counts.map((count, at): Value => {
    below += count;
    const le = String(TIME_EDGES_SECONDS[at] ?? '+Inf');
    return { metricName: `${name}_bucket`, labels: { stream, le }, value: below };
  });
  return [
    ...buckets,
    { metricName: `${name}_sum`, labels: { stream }, value: sum },
    { metricName: `${name}_count`, labels: { stream }, value: below },
  ];
};

/**
 * Registers a histogram; returns what sets its samples before a scrape.
 *
 * prom-client's own Histogram counts what it observes and cannot be given counts, so this is one of ours, as far as a registry asks.
 */
export const registerHistogram = (
  histogram: Histogram,
  registry: Registry,
): ((facts: Facts | null) => void) => {
  const { name, help } = histogram;
  let values: readonly Value[] = [];
  const collector = {
    name,
    get: () => Promise.resolve({ name, help, type: 'histogram', values, aggregator: 'sum' }),
    reset: () => void (values = []),
  };
  registry.registerMetric(collector as unknown as PromHistogram);
  return (facts) => {
    const works = new Map(facts?.streams.map(({ stream, work }) => [stream, work] as const));
    values = [...works].flatMap(([stream, work]) => samplesOf(histogram, stream, work));
  };
};
