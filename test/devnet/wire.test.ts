/** What a devnet sends, message by message: the shapes an Amp server has on the wire. */
import { afterEach, describe, expect, test } from 'vitest';
import { ZERO_HASH } from '../../src/chain/metadata.ts';
import type { BlockRange, Watermark } from '../../src/chain/range.ts';
import { createChain } from '../../src/devnet/chain.ts';
import type { ChainOptions, SimulatedChain } from '../../src/devnet/chain.ts';
import { transfersIn } from '../../src/devnet/ledger.ts';
import { startDevnet } from '../../src/devnet/server.ts';
import type { Devnet, DevnetOptions } from '../../src/devnet/server.ts';
import { connectFlight } from '../../src/flight/client.ts';
import type { FlightClient, QueryOptions } from '../../src/flight/client.ts';
import { queryFlight } from '../../src/flight/query.ts';
import type { QueryMessage } from '../../src/flight/query.ts';
import { collect, failureOf, gather, readUntil, rowsOf, until } from '../flight/collect.ts';

const cleanups: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

const SMALL: ChainOptions = { seed: 5, accounts: 10, tokens: 2, transfersPerBlock: 4, logsPerBlock: 2 };

const serve = async (
  chainOptions: ChainOptions,
  options: Omit<DevnetOptions, 'chain'> = {},
): Promise<{ devnet: Devnet<SimulatedChain>; chain: SimulatedChain; client: FlightClient }> => {
  const chain = createChain({ ...SMALL, ...chainOptions });
  const devnet = await startDevnet({ chain, ...options });
  const client = connectFlight({ url: devnet.url });
  cleanups.push(devnet.stop, client.close);
  return { devnet, chain, client };
};

const SQL = 'SELECT *, _block_num FROM transfers';
const STREAM: QueryOptions = { stream: true };

/** Messages that carry a batch; a client may also be told the schema alone. */
const batchesOf = (messages: readonly QueryMessage[]): readonly QueryMessage[] =>
  messages.filter(({ batch }) => batch !== null);

const closings = (messages: readonly QueryMessage[]): number =>
  messages.filter(({ metadata }) => metadata?.complete === true).length;

const readMicrobatches = (client: FlightClient, count: number, options: QueryOptions = STREAM, sql = SQL) =>
  readUntil(client, sql, (messages) => closings(messages) === count, options);

const rangesOf = (messages: readonly QueryMessage[]): readonly (BlockRange | undefined)[] =>
  messages.flatMap(({ metadata }) => (metadata?.complete === true ? [metadata.ranges[0]] : []));

const spans = (messages: readonly QueryMessage[]): readonly (readonly [number, number])[] =>
  rangesOf(messages).map((range) => [range?.start ?? -1, range?.end ?? -1] as const);

/** Where a client stands that has the chain as it is now. */
const markOf = (chain: SimulatedChain, number: number): Watermark => ({
  network: chain.network,
  number,
  hash: chain.view().hashOf(number),
});

describe('a microbatch', () => {
  test('is data with equal ranges and false, then one empty batch with true', async () => {
    const { client, chain } = await serve({ blocks: 25 }, { microbatchBlocks: 10, rowsPerMessage: 12 });
    const messages = batchesOf(await readMicrobatches(client, 3));
    expect(spans(messages)).toEqual([
      [0, 9],
      [10, 19],
      [20, 24],
    ]);
    const second = messages.filter(({ metadata }) => metadata?.ranges[0]?.start === 10);
    expect(second.map(({ metadata }) => metadata?.complete)).toEqual([false, false, false, false, true]);
    expect(second.map(({ batch }) => batch?.numRows)).toEqual([8, 12, 12, 8, 0]);
    for (const { metadata } of second) {
      expect(metadata?.ranges).toEqual([
        {
          network: 'devnet',
          start: 10,
          end: 19,
          hash: chain.view().hashOf(19),
          prevHash: chain.view().hashOf(9),
          timestamp: chain.view().timestampOf(19),
        },
      ]);
    }
    expect(rangesOf(messages)[0]?.prevHash).toBe(ZERO_HASH);
  });

  test('has keep-alives inside when asked for, the same ones each time', async () => {
    const { client } = await serve({ blocks: 40 }, { rowsPerMessage: 4, keepAliveRate: 0.4 });
    const read = async () => batchesOf(await readMicrobatches(client, 1)).map(({ batch }) => batch?.numRows);
    const rows = await read();
    expect(rows.slice(0, -1).filter((count) => count === 0).length).toBeGreaterThan(5);
    expect(rows.at(-1)).toBe(0);
    expect(await read()).toEqual(rows);
  });

  test('without a row in the query’s blocks is its closing batch alone, from the chain’s first block on', async () => {
    const { client } = await serve({ blocks: 30 }, { microbatchBlocks: 10 });
    const messages = await readMicrobatches(
      client,
      3,
      STREAM,
      `${SQL} WHERE block_num >= 25 AND _block_num < 27`,
    );
    expect(batchesOf(messages).map(({ batch }) => batch?.numRows)).toEqual([0, 0, 8, 0]);
    expect(spans(messages)[0]).toEqual([0, 9]);
  });
});

describe('schema', () => {
  test('comes with the first microbatch only, where GetFlightInfo does not tell it', async () => {
    const { client, chain, devnet } = await serve({ blocks: 3 }, { schemaInInfo: false });
    const reader = queryFlight(client, SQL, { stream: true, resume: [markOf(chain, 2)] });
    const first = reader.next();
    await until(() => devnet.activeStreams() === 1);
    const early = await Promise.race([first, new Promise((resolve) => setTimeout(resolve, 100, 'silence'))]);
    expect(early).toBe('silence');
    chain.advance(1);
    expect((await first).value).toMatchObject({ batch: null, metadata: null });
    await reader.return();
  });
});

describe('batch queries', () => {
  test('end, and carry the synced snapshot as their ranges', async () => {
    const { client, chain } = await serve({ blocks: 20 });
    const messages = batchesOf(
      await gather(queryFlight(client, 'SELECT hash FROM blocks WHERE number <= 4')),
    );
    expect(messages.map(({ batch, metadata }) => [batch?.numRows, metadata?.complete])).toEqual([
      [5, false],
      [0, true],
    ]);
    expect(messages[0]?.metadata?.ranges[0]).toMatchObject({
      start: 0,
      end: 19,
      hash: chain.view().hashOf(19),
    });
  });

  test('LIMIT cuts, in a batch query only', async () => {
    const { client } = await serve({ blocks: 20 }, { rowsPerMessage: 8 });
    expect(rowsOf(await collect(client, `${SQL} WHERE block_num > 3 ORDER BY block_num LIMIT 11`))).toBe(11);
    for (const options of [{ stream: true }, {}]) {
      const sql =
        options.stream === true ? `${SQL} LIMIT 1` : `${SQL} ORDER BY block_num SETTINGS stream = true`;
      const error = await failureOf(collect(client, sql, options));
      expect(error.detail.grpcStatus).toBe('INVALID_ARGUMENT');
    }
  });

  test('the header wins over SETTINGS', async () => {
    const { client } = await serve({ blocks: 5 });
    const sql = `${SQL} SETTINGS stream = true`;
    const messages = await collect(client, sql, { headers: { 'amp-stream': 'false' } });
    expect(rowsOf(messages)).toBe(20 + 4 * 4);
  });
});

test('nothing synced yet is schema, no ranges, complete, end: for streams and batches', async () => {
  const { client, chain } = await serve({});
  for (const options of [STREAM, {}]) {
    const messages = batchesOf(await gather(queryFlight(client, SQL, options)));
    expect(messages.map(({ batch, metadata }) => [batch?.numRows, metadata])).toEqual([
      [0, { ranges: [], complete: true }],
    ]);
  }
  chain.advance(2);
  expect(spans(await readMicrobatches(client, 1))).toEqual([[0, 1]]);
});

describe('resume', () => {
  test('goes on behind the block it names', async () => {
    const { client, chain } = await serve({ blocks: 30 });
    const messages = await readMicrobatches(client, 1, { stream: true, resume: [markOf(chain, 12)] });
    expect(spans(messages)).toEqual([[13, 29]]);
    expect(rangesOf(messages)[0]?.prevHash).toBe(chain.view().hashOf(12));
  });

  test.each([
    ['no JSON', '{'],
    ['a list', '[]'],
    ['number as text', '{"devnet":{"number":"12","hash":"0x00"}}'],
    ['no hash', '{"devnet":{"number":12}}'],
    ['another network', '{"other":{"number":12,"hash":"0x00"}}'],
  ])('a malformed header (%s) is silently ignored: from the beginning', async (_, header) => {
    const { client } = await serve({ blocks: 30 });
    const messages = await readMicrobatches(client, 1, { stream: true, headers: { 'amp-resume': header } });
    expect(spans(messages)).toEqual([[0, 29]]);
  });

  test('behind a dropped block the server remembers starts at the fork', async () => {
    const { client, chain } = await serve({ blocks: 30 });
    const mark = markOf(chain, 29);
    chain.reorg(6, 8);
    const messages = await readMicrobatches(client, 1, { stream: true, resume: [mark] });
    expect(spans(messages)).toEqual([[24, 31]]);
    expect(rangesOf(messages)[0]?.prevHash).toBe(chain.view().hashOf(23));
  });

  test('behind a dropped block the server forgot starts one block back only; stepping back finds the fork', async () => {
    const { client, chain } = await serve({ blocks: 30, remembersForks: false });
    const marks = Array.from({ length: 30 }, (_, number) => markOf(chain, number));
    chain.reorg(3, 5);
    const starts: number[] = [];
    let step = 29;
    for (let isLinked = false; !isLinked; step -= 1) {
      const resume = marks.slice(step, step + 1);
      const [range] = rangesOf(await readMicrobatches(client, 1, { stream: true, resume }));
      starts.push(range?.start ?? -1);
      isLinked = range?.prevHash === marks[(range?.start ?? 0) - 1]?.hash;
    }
    expect(starts).toEqual([29, 28, 27]);
  });
});

describe('a live stream', () => {
  test('follows the head, and goes back to the fork at a reorg', async () => {
    const { client, chain } = await serve({ blocks: 10 });
    const seen: QueryMessage[] = [];
    for await (const message of queryFlight(client, SQL, STREAM)) {
      seen.push(message);
      if (message.metadata?.complete !== true) continue;
      const count = closings(seen);
      if (count === 1) chain.advance(3);
      if (count === 2) chain.reorg(5, 7);
      if (count === 3) chain.reorg(1, 1);
      if (count === 4) break;
    }
    expect(spans(seen)).toEqual([
      [0, 9],
      [10, 12],
      [8, 14],
      [14, 14],
    ]);
    const ranges = rangesOf(seen);
    expect(ranges[2]?.prevHash).toBe(chain.view().hashOf(7));
    expect(ranges[3]?.hash).toBe(chain.view().hashOf(14));
    expect(ranges[3]?.hash).not.toBe(ranges[2]?.hash);
    const last = seen.findLast(({ batch }) => (batch?.numRows ?? 0) > 0)?.batch;
    expect(last?.getChild('value')?.toArray()).toEqual(
      transfersIn(chain, 14, 14).map(({ value }) => String(value)),
    );
  });

  test('a reorg in the middle of a microbatch lets it end as it began', async () => {
    const { client, chain } = await serve({ blocks: 12 }, { rowsPerMessage: 4 });
    const before = chain.view();
    const expected = transfersIn(chain, 0, 11).map(({ txHash }) => txHash);
    const seen: QueryMessage[] = [];
    for await (const message of queryFlight(client, SQL, STREAM)) {
      seen.push(message);
      if (seen.length === 3) chain.reorg(10, 11);
      if (closings(seen) === 1) break;
    }
    expect(rangesOf(seen)[0]?.hash).toBe(before.hashOf(11));
    const hashes = seen.flatMap(({ batch }) => Array.from(batch?.getChild('tx_hash') ?? []));
    expect(hashes.map((hash) => `0x${Buffer.from(hash as Uint8Array).toString('hex')}`)).toEqual(expected);
  });

  test('many of them wake at once, and stopping the server ends them all', async () => {
    const { client, chain, devnet } = await serve({ blocks: 1 });
    const readers = Array.from({ length: 10 }, () => failureOf(gather(client.query(SQL, STREAM))));
    await until(() => devnet.activeStreams() === 10);
    chain.advance(1);
    await devnet.stop();
    for (const error of await Promise.all(readers)) {
      expect(error).toMatchObject({ kind: 'connection', detail: { grpcStatus: 'UNAVAILABLE' } });
    }
  });
});

describe('faults on demand', () => {
  test('the next stream fails where told, the one after it does not', async () => {
    const { client, devnet } = await serve({ blocks: 30 }, { rowsPerMessage: 4 });
    devnet.failNext({ afterMessages: 5 });
    devnet.failNext({ afterMessages: 0, grpcStatus: 'RESOURCE_EXHAUSTED' });
    expect((await failureOf(collect(client, SQL))).detail.grpcStatus).toBe('UNAVAILABLE');
    expect((await failureOf(collect(client, SQL))).detail.grpcStatus).toBe('RESOURCE_EXHAUSTED');
    expect(rowsOf(await collect(client, SQL))).toBe(20 + 29 * 4);
  });

  test('disconnecting fails what runs', async () => {
    const { client, devnet } = await serve({ blocks: 3 });
    const reading = collect(client, SQL, STREAM);
    await until(() => devnet.activeStreams() === 1);
    devnet.disconnect();
    expect((await failureOf(reading)).detail.grpcStatus).toBe('UNAVAILABLE');
  });
});

test('preloaded messages are the ones made on demand', async () => {
  const sql = `${SQL} WHERE block_num < 35`;
  const plain = await serve({ blocks: 50 }, { rowsPerMessage: 12 });
  const ready = await serve(
    { blocks: 50 },
    { rowsPerMessage: 12, preload: [{ sql }, { sql, from: 7, to: 9 }] },
  );
  const flat = async ({ client }: { client: FlightClient }) =>
    (await collect(client, sql)).map(({ batch, metadata }) => [
      JSON.stringify(batch?.toArray(), (_, value: unknown) =>
        typeof value === 'bigint' ? String(value) : value,
      ),
      metadata && Buffer.from(metadata).toString(),
    ]);
  expect(await flat(ready)).toEqual(await flat(plain));
});

test('impossible options are refused', async () => {
  const chain = createChain(SMALL);
  for (const options of [
    { microbatchBlocks: 0 },
    { microbatchBlocks: 1001 },
    { rowsPerMessage: 0 },
    { keepAliveRate: 2 },
  ]) {
    expect((await failureOf(startDevnet({ chain, ...options }))).kind).toBe('usage');
  }
  const { devnet } = await serve({});
  expect((await failureOf(startDevnet({ chain, port: devnet.port }))).kind).toBe('connection');
});
