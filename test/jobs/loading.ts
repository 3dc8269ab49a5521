/** Loads streams in tests as the command line does: a policy file, a Flight client, one run of `ingest`. */
import { connectFlight } from '../../src/flight/client.ts';
import type { FlightOptions } from '../../src/flight/client.ts';
import { ingest } from '../../src/jobs/ingest.ts';
import type { IngestEvent, IngestOptions, IngestResult } from '../../src/jobs/ingest.ts';
import { parseConfig } from '../../src/runtime/config.ts';
import type { Config } from '../../src/runtime/config.ts';
import type { Pool } from '../../src/db/query.ts';

/** The settings of one stream, as a policy file has them. */
export type Settings = Readonly<Record<string, unknown>>;

/** Every transfer of a simulated chain as two balance changes, placed by its log index. */
export const TRANSFERS: Settings = {
  load: 'transfers',
  query: 'SELECT _block_num, timestamp, log_index, token, "from", "to", value FROM transfers',
  ordinal: 'log_index',
  rules: ['to:+value', 'from:-value'],
};

/** Every log of a simulated chain into a table made for it. */
export const LOGS: Settings = {
  load: 'rows',
  query:
    'SELECT _block_num, timestamp, log_index, address, topics, data, removed, gas_price, fee, note FROM logs',
  table: 'logs',
};

/** A policy file with one server. */
export const policyOf = (
  url: string,
  streams: Readonly<Record<string, Settings>>,
  server: Settings = {},
): Config =>
  parseConfig(
    JSON.stringify({
      servers: { devnet: { url, ...server } },
      streams: Object.fromEntries(
        Object.entries(streams).map(([name, settings]) => [name, { server: 'devnet', ...settings }]),
      ),
    }),
    {},
    'test policy',
  );

/** What a run is started with; everything else has a default. */
export interface LoadRequest {
  readonly pool: Pool;
  readonly url: string;
  readonly stream: string;
  readonly settings: Settings;
  readonly from?: number;
  readonly to?: number;
  readonly follow?: boolean;
  readonly kind?: IngestOptions['serverKind'];
  readonly signal?: AbortSignal;
  readonly now?: Date;
  readonly flight?: Partial<FlightOptions>;
  readonly labelMemory_bytes?: number;
  readonly onEvent?: (event: IngestEvent) => void;
  readonly retry?: IngestOptions['retry'];
}

/** Runs one stream to its end. */
export const load = async (request: LoadRequest): Promise<IngestResult> => {
  const { url, stream, settings, flight, from = null, to = null } = request;
  const config = policyOf(url, { [stream]: settings }).streams[stream]!;
  const client = connectFlight({ url, ...flight });
  try {
    return await ingest({
      pool: request.pool,
      client,
      stream,
      config,
      serverKind: request.kind ?? 'amp',
      window: { from, to },
      follow: request.follow ?? false,
      signal: request.signal ?? new AbortController().signal,
      now: request.now ?? new Date(),
      ...(request.labelMemory_bytes !== undefined && { labelMemory_bytes: request.labelMemory_bytes }),
      onEvent: request.onEvent ?? (() => undefined),
      ...(request.retry === undefined ? {} : { retry: request.retry }),
    });
  } finally {
    client.close();
  }
};

/** A followed stream that runs beside the test. */
export interface Following {
  /** Newest committed block, -1 before the first. */
  readonly committed: () => number;
  readonly events: readonly IngestEvent[];
  /** Asks it to stop and gives its result. */
  readonly stop: () => Promise<IngestResult>;
  readonly result: Promise<IngestResult>;
}

/** Starts a followed stream. */
export const follow = (request: Omit<LoadRequest, 'follow' | 'signal' | 'onEvent'>): Following => {
  const stopping = new AbortController();
  const events: IngestEvent[] = [];
  let committed = -1;
  const onEvent = (event: IngestEvent): void => {
    events.push(event);
    if (event.kind === 'committed') committed = event.result.ranges.at(-1)?.range.end ?? committed;
  };
  const result = load({ ...request, follow: true, signal: stopping.signal, onEvent });
  result.catch(() => undefined); // whoever awaits it hears of it
  return {
    committed: () => committed,
    events,
    result,
    stop: () => {
      stopping.abort(new Error('the test has seen enough'));
      return result;
    },
  };
};
