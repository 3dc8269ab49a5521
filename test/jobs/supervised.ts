/** Supervised streams in tests: a clock that runs fast, so that waits of minutes pass in moments, and everything that was told. */
import { setTimeout as timer } from 'node:timers/promises';
import type { PoolOptions } from '../../src/db/pool.ts';
import { connectFlight } from '../../src/flight/client.ts';
import type { FlightOptions } from '../../src/flight/client.ts';
import { noHealthLog } from '../../src/jobs/health.ts';
import type { HealthLog } from '../../src/jobs/health.ts';
import type { IngestEvent } from '../../src/jobs/ingest.ts';
import { superviseStream } from '../../src/jobs/supervise.ts';
import type { SupervisedResult } from '../../src/jobs/supervise.ts';
import { resilienceOf } from '../../src/runtime/config.ts';
import type { Clock } from '../../src/runtime/resilience.ts';
import { policyOf } from './loading.ts';
import type { Settings } from './loading.ts';

/** How much faster the clock of supervised streams runs: two seconds are 40 milliseconds. */
const FACTOR = 50;

/** A clock that runs so many times as fast as ours. */
export const fastClock = (factor = FACTOR): Clock => {
  const started = Date.now();
  return {
    now: () => started + (Date.now() - started) * factor,
    sleep: (delay_ms, signal) => timer(delay_ms / factor, undefined, { signal }).catch(() => undefined),
    random: Math.random,
  };
};

/** What a stream is supervised with. */
export interface Supervising {
  /** The database; a function where it moves. */
  readonly url: string | (() => string);
  readonly server: string;
  readonly stream: string;
  readonly settings: Settings;
  readonly follow?: boolean;
  readonly to?: number;
  readonly kind?: 'amp' | 'flight-sql';
  readonly health?: HealthLog;
  readonly flight?: Partial<FlightOptions>;
  readonly pool?: Partial<PoolOptions>;
  readonly renewsToken?: boolean;
  readonly clock?: Clock;
  readonly watchEvery_ms?: number;
}

/** A stream that runs beside the test. */
export interface Supervised {
  /** Newest committed block, -1 before the first. */
  readonly committed: () => number;
  readonly events: readonly IngestEvent[];
  readonly retries: () => number;
  readonly stop: () => Promise<SupervisedResult>;
  /** The same for whoever cleans up, however it ended. */
  readonly end: () => Promise<unknown>;
  readonly result: Promise<SupervisedResult>;
}

/** Short limits: a test does not wait ten seconds for a silent peer. */
const LIMITS: Partial<FlightOptions> = {
  connectTimeout_ms: 300,
  infoTimeout_ms: 300,
  pingEvery_ms: 100,
  pingTimeout_ms: 150,
};

/** Starts a stream. */
export const supervise = (request: Supervising): Supervised => {
  const { url, server, stream, settings, follow = true } = request;
  const stopping = new AbortController();
  const events: IngestEvent[] = [];
  let committed = -1;
  const config = policyOf(server, { [stream]: settings });
  const result = superviseStream({
    database: () =>
      Promise.resolve({
        url: typeof url === 'string' ? url : url(),
        options: { connectLimitMs: 1000, synchronousCommit: 'off' as const, ...request.pool },
      }),
    connect: () => Promise.resolve(connectFlight({ url: server, ...LIMITS, ...request.flight })),
    resilience: resilienceOf(config, stream),
    health: request.health ?? noHealthLog,
    clock: request.clock ?? fastClock(),
    watchEvery_ms: request.watchEvery_ms ?? 5000,
    renewsToken: request.renewsToken ?? false,
    stream,
    config: config.streams[stream]!,
    serverKind: request.kind ?? 'amp',
    window: { from: null, to: request.to ?? null },
    follow,
    signal: stopping.signal,
    headLimit_ms: 500,
    onEvent: (event) => {
      events.push(event);
      if (event.kind === 'committed') committed = event.result.ranges.at(-1)?.range.end ?? committed;
    },
  });
  result.catch(() => undefined); // whoever awaits it hears of it
  const stop = (): Promise<SupervisedResult> => {
    stopping.abort(new Error('the test has seen enough'));
    return result;
  };
  return {
    committed: () => committed,
    events,
    retries: () => events.filter(({ kind }) => kind === 'retry').length,
    result,
    stop,
    end: () => stop().catch(() => undefined),
  };
};
