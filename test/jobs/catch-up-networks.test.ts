/** Several networks in one stream: each is caught up by all workers, in its own block numbers, before the stream of all goes on. */
import { afterEach, expect, test } from 'vitest';
import type { BlockRange } from '../../src/chain/range.ts';
import type { IngestEvent } from '../../src/jobs/run.ts';
import { WarehouseError } from '../../src/runtime/errors.ts';
import { useDatabase } from '../database.ts';
import { failureOf } from '../flight/collect.ts';
import { load } from './loading.ts';
import { ledgerOf, openTransactions, wrongBalances } from './oracle.ts';
import {
  hashOf,
  rangeOf,
  SCRIPTED_TRANSFERS,
  serveScript,
  transfersBatch,
  type Question,
  type ScriptedServer,
  type Step,
} from './scripted-server.ts';

const database = useDatabase();

const servers: ScriptedServer[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) server.stop();
  expect(await openTransactions(database.pool)).toEqual([]);
  expect(await wrongBalances(database.pool)).toEqual([]);
});

/** A network whose blocks have a transfer each; those from `forkedAt` on are of a fork. */
interface Network {
  readonly name: string;
  readonly first: number;
  head: number;
  forkedAt: number;
}

const forkOf = ({ forkedAt }: Network, block: number): string => (block < forkedAt ? 'a' : 'b');

const ranged = (network: Network, start: number): BlockRange => {
  const { name, head } = network;
  return rangeOf(start, head, forkOf(network, head), forkOf(network, start - 1), name);
};

const NUMBER = /_block_num (?<sign>>=|<) (?<block>\d+)/g;

/** Rows of these networks that the query asks for. */
const rowsOf = (networks: readonly Network[], sql: string, from: ReadonlyMap<string, number>) => {
  const only = /network = '(?<name>\w+)'/.exec(sql)?.groups?.['name'];
  const bounds = [...sql.matchAll(NUMBER)].map(({ groups }) => [groups?.['sign'], Number(groups?.['block'])]);
  const isAsked = (block: number): boolean =>
    bounds.every(([sign, bound]) => (sign === '<' ? block < Number(bound) : block >= Number(bound)));
  return networks
    .filter(({ name }) => only === undefined || name === only)
    .flatMap((network) =>
      Array.from({ length: network.head + 1 }, (_unused, block) => block)
        .filter((block) => block >= (from.get(network.name) ?? network.first) && isAsked(block))
        .map((block) => ({
          block,
          network: network.name,
          value: forkOf(network, block) === 'a' ? '7' : '9',
        })),
    );
};

/** Serves them all in one stream; it has forgotten every block that is not on the chain. */
const serve = async (networks: readonly Network[]): Promise<ScriptedServer> => {
  const startOf = (network: Network, resume: Question['resume']): number => {
    const at = resume?.[network.name];
    if (at === undefined) return network.first;
    return at.hash === hashOf(at.number, forkOf(network, at.number), network.name)
      ? at.number + 1
      : at.number;
  };
  const answer = (sql: string, starts: ReadonlyMap<string, number>): Step[] => {
    const told = networks.filter(({ name, head }) => (starts.get(name) ?? 0) <= head);
    if (told.length === 0) return [];
    const ranges = told.map((network) => ranged(network, starts.get(network.name)!));
    const rows = rowsOf(told, sql, starts);
    return [
      ...(rows.length === 0 ? [] : [{ batch: transfersBatch(rows), ranges }]),
      { batch: transfersBatch([]), ranges, complete: true },
    ];
  };
  const server = await serveScript(
    [],
    ({ sql, resume }) => [
      ...answer(sql, new Map(networks.map((network) => [network.name, startOf(network, resume)]))),
      { wait: 'for ever' },
    ],
    { answer: ({ sql }) => answer(sql, new Map(networks.map(({ name, first }) => [name, first]))) },
  );
  servers.push(server);
  return server;
};

const near = (): Network => ({ name: 'near', first: 0, head: 299, forkedAt: Infinity });
const far = (): Network => ({ name: 'far', first: 1000, head: 1249, forkedAt: Infinity });

const SETTINGS = {
  ...SCRIPTED_TRANSFERS,
  network_column: 'network',
  parallel: { workers: 3, partition_blocks: 40, reorg_buffer: 20 },
};

/** Asserts that each block of each network is there once, as it is on the chain, and in the ledger. */
const expectAll = async (stream: string, networks: readonly Network[]): Promise<void> => {
  for (const network of networks) {
    const { rows } = await database.pool.query<{ line: string }>(
      `select c.block_num || ' ' || c.delta as line from strata.balance_changes c join strata.sources s using (source_id)
        where s.stream = $1 and s.network = $2 and delta > 0 order by c.block_num`,
      [stream, network.name],
    );
    const wanted = rowsOf([network], '', new Map());
    expect(rows.map(({ line }) => line)).toEqual(wanted.map(({ block, value }) => `${block} ${value}`));
    let next = network.first;
    for (const { start, end, hash } of await ledgerOf(database.pool, stream, network.name)) {
      expect(start).toBe(next);
      expect([null, hashOf(end, forkOf(network, end), network.name)]).toContain(hash);
      next = end + 1;
    }
    expect(next).toBe(network.head + 1);
  }
};

const run = (server: ScriptedServer, stream: string, events: IngestEvent[], settings: object = {}) =>
  load({
    pool: database.pool,
    url: server.url,
    stream,
    settings: { ...SETTINGS, ...settings },
    onEvent: (event) => events.push(event),
  });

/** Who has loaded how many partitions of which network. */
const workersOf = (events: readonly IngestEvent[], network: string): number =>
  new Set(
    events.flatMap((event) =>
      event.kind === 'partition' && event.network === network && event.state === 'loaded'
        ? [event.worker]
        : [],
    ),
  ).size;

test('each is loaded whole by several workers, and the stream of both goes on behind them', async () => {
  const networks = [near(), far()] as const;
  const server = await serve(networks);
  const events: IngestEvent[] = [];
  expect(await run(server, 'both', events)).toMatchObject({ end: 'complete', rows: 1100, reorgs: 0 });
  for (const { name } of networks) expect(workersOf(events, name)).toBeGreaterThan(1);
  // All that the stream itself had to be asked for were hashes.
  expect(server.asked.filter(({ stream, sql }) => stream && !sql.includes('9007199254740990'))).toEqual([]);
  await expectAll('both', networks);
  networks[0].head += 5;
  networks[1].head += 3;
  expect(await run(server, 'both', [])).toMatchObject({ end: 'complete', rows: 16 });
  await expectAll('both', networks);
});

test('holes that a failure has left are filled, and a fork of one network leaves the other alone', async () => {
  const networks = [near(), far()] as const;
  const server = await serve(networks);
  const failing = failureOf(
    load({
      pool: database.pool,
      url: server.url,
      stream: 'holed',
      settings: { ...SETTINGS, parallel: { ...SETTINGS.parallel, stop_on_error: false } },
      retry: async (work, { from }) => {
        if (from === 1083 || from === 83)
          throw new WarehouseError('connection', 'not to be had', { grpcStatus: 'UNAVAILABLE' });
        return work();
      },
    }),
  );
  expect(await failing).toMatchObject({
    kind: 'connection',
    message: expect.stringMatching(/2 partitions/) as string,
  });
  networks[0].forkedAt = 295;
  networks[0].head += 4;
  networks[1].head += 2000;
  const events: IngestEvent[] = [];
  expect(await run(server, 'holed', events)).toMatchObject({ end: 'complete', reorgs: 1 });
  expect(workersOf(events, 'far')).toBeGreaterThan(0);
  expect(await run(server, 'holed', [])).toMatchObject({ end: 'nothing new' });
  await expectAll('holed', networks);
});

test('without a column that tells their rows apart there is no catch-up, and the stream says what is missing', async () => {
  const server = await serve([near(), far()]);
  const error = await failureOf(run(server, 'unnamed', [], { network_column: undefined }));
  expect(error).toMatchObject({
    kind: 'config',
    detail: { remedy: expect.stringMatching(/network_column/) as string },
  });
});
