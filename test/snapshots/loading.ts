/** Loads snapshots from scripted Flight servers; after each test the servers stop, and `verify` must find nothing. */
import { afterEach, expect } from 'vitest';
import type { IngestResult } from '../../src/jobs/ingest.ts';
import type { TestDatabase } from '../database.ts';
import { load } from '../jobs/loading.ts';
import type { LoadRequest } from '../jobs/loading.ts';
import { openTransactions } from '../jobs/oracle.ts';
import { rangeOf, serveScript } from '../jobs/scripted-server.ts';
import type { ScriptedServer, Step } from '../jobs/scripted-server.ts';
import { findings } from './observations.ts';
import type { Observation } from './observations.ts';

/** The present instant of these loads. */
export const NOW = new Date('2026-02-01T00:00:00Z');
/** Sunday 2026-01-04 00:00 UTC, where a week begins. */
export const SUNDAY_US = 1_767_484_800_000_000n;
/** An hour in microseconds. */
export const HOUR_US = 3_600_000_000n;

/** A snapshot, mostly of one account. */
export const at = (time: bigint, balance: string, rest: Partial<Observation> = {}): Observation => ({
  account: 'ann',
  asset: 'holding',
  time,
  block: 0,
  balance,
  usd: null,
  data: null,
  ...rest,
});

/** Loads microbatches that end at block `head`; the stream's assets are of the standard of its own name. */
export type RunSnapshots = (
  stream: string,
  head: number,
  steps: readonly Step[],
  settings?: object,
  rest?: Partial<LoadRequest>,
) => Promise<IngestResult>;

/** Scripted snapshots for the test file that calls it. */
export const useSnapshots = (database: TestDatabase): { readonly run: RunSnapshots } => {
  const servers: ScriptedServer[] = [];
  afterEach(async () => {
    for (const server of servers.splice(0)) server.stop();
    expect(await openTransactions(database.pool)).toEqual([]);
    expect(await findings(database.pool)).toEqual([]);
  });
  const run: RunSnapshots = async (stream, head, steps, settings = {}, rest = {}) => {
    const server = await serveScript(
      [rangeOf(0, head)],
      () => [...steps, { wait: 'for ever' }],
      rest.kind === 'flight-sql' ? { answer: () => steps } : {},
    );
    servers.push(server);
    const snapshots = { load: 'snapshots', query: 'SELECT whatever the script says', standard: stream };
    return load({
      pool: database.pool,
      url: server.url,
      stream,
      settings: { ...snapshots, ...settings },
      now: NOW,
      ...rest,
    });
  };
  return { run };
};
