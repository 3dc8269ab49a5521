/** Runs against scripted servers: what every test of misbehaving servers starts, asks and counts. */
import { afterEach, expect } from 'vitest';
import type { BlockRange } from '../../src/chain/range.ts';
import type { IngestResult } from '../../src/jobs/ingest.ts';
import type { TestDatabase } from '../database.ts';
import { load } from './loading.ts';
import type { LoadRequest } from './loading.ts';
import { ledgerOf, openTransactions } from './oracle.ts';
import { microbatch, rangeOf, SCRIPTED_TRANSFERS, serveScript, transfersBatch } from './scripted-server.ts';
import type { Question, ScriptedServer, Step } from './scripted-server.ts';

/** A microbatch with one transfer in each of its blocks. */
export const blocks = (start: number, end: number, fork = 'a', parentFork = fork): Step[] =>
  microbatch(
    [rangeOf(start, end, fork, parentFork)],
    transfersBatch(Array.from({ length: end - start + 1 }, (_, index) => ({ block: start + index }))),
  );

/** Scripted servers and loads from them; after each test the servers stop, and no transaction may be left open. */
export interface ScriptedRuns {
  /** A name no other test has. */
  readonly newStream: () => string;
  readonly serve: (
    head: readonly BlockRange[],
    script: (question: Question) => Iterable<Step>,
  ) => Promise<ScriptedServer>;
  readonly run: (
    server: ScriptedServer,
    stream: string,
    settings?: object,
    span?: Pick<LoadRequest, 'from' | 'to'>,
  ) => Promise<IngestResult>;
  /** Start, end and rows of each ledger row. */
  readonly ends: (
    stream: string,
    network?: string,
  ) => Promise<readonly (readonly [number, number, number])[]>;
  /** The block of each transfer that is loaded, in order. */
  readonly blocksOf: (stream: string) => Promise<readonly number[]>;
}

/** Scripted runs for the test file that calls it. */
export const useScripts = (database: TestDatabase): ScriptedRuns => {
  const servers: ScriptedServer[] = [];
  let streams = 0;
  afterEach(async () => {
    for (const server of servers.splice(0)) server.stop();
    expect(await openTransactions(database.pool)).toEqual([]);
  });
  return {
    newStream: () => `scripted_${(streams += 1)}`,
    serve: async (head, script) => {
      const server = await serveScript(head, script);
      servers.push(server);
      return server;
    },
    run: (server, stream, settings = {}, span = {}) =>
      load({
        pool: database.pool,
        url: server.url,
        stream,
        settings: { ...SCRIPTED_TRANSFERS, ...settings },
        ...span,
      }),
    ends: async (stream, network = 'scripted') =>
      (await ledgerOf(database.pool, stream, network)).map(
        ({ start, end, rows }) => [start, end, rows] as const,
      ),
    blocksOf: async (stream) => {
      const { rows } = await database.pool.query<{ block: number }>(
        `select block_num as block from strata.balance_changes join strata.sources s using (source_id)
          where s.stream = $1 and delta > 0 order by 1`,
        [stream],
      );
      return rows.map(({ block }) => block);
    },
  };
};
