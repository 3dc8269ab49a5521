/** Recorded blocks, served: real hashes, exact integers, the folded balances of two Ethereum blocks. */
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { REPLAYED, balancesAfter, transfersIn } from '../../src/devnet/ledger.ts';
import { parseExactly, replayChain } from '../../src/devnet/replay.ts';
import { startDevnet } from '../../src/devnet/server.ts';
import type { Devnet } from '../../src/devnet/server.ts';
import { connectFlight } from '../../src/flight/client.ts';
import type { FlightClient } from '../../src/flight/client.ts';
import { queryFlight } from '../../src/flight/query.ts';
import { collect, gather, rowsOf } from '../flight/collect.ts';

const DATA = join(import.meta.dirname, '../../../shared/data');
const canRun = existsSync(DATA);
if (!canRun) console.warn(`SKIPPED: replay of real blocks is not tested here, ${DATA} is missing.`);

const FIRST = 17_173_049;

describe.runIf(canRun)('two blocks of Ethereum', () => {
  let devnet: Devnet;
  let client: FlightClient;
  beforeAll(async () => {
    devnet = await startDevnet({ chain: replayChain(DATA) });
    client = connectFlight({ url: devnet.url });
  });
  afterAll(async () => {
    client.close();
    await devnet.stop();
  });

  test.each([
    ['token_transfers', 291],
    ['logs', 681],
    ['transactions', 298],
    ['blocks', 2],
  ])('%s has %i rows', async (table, rows) => {
    expect(rowsOf(await collect(client, `SELECT *, _block_num FROM ${table}`))).toBe(rows);
  });

  test('the stream carries their real hashes', async () => {
    const [last] = (await gather(queryFlight(client, 'SELECT hash FROM blocks'))).slice(-1);
    expect(last?.metadata?.ranges).toEqual([
      {
        network: 'mainnet',
        start: FIRST,
        end: FIRST + 1,
        hash: devnet.chain.view().hashOf(FIRST + 1),
        prevHash: '0x918a700a8e7a9f3fe0b3ccb176c810ded08729331ceef8d6375af5d1eeeaa6c0',
        timestamp: 1_683_030_011,
      },
    ]);
    expect(devnet.chain.view().parentHashOf(FIRST + 1)).toBe(devnet.chain.view().hashOf(FIRST));
  });

  test('folding the transfers gives the published balances', () => {
    const transfers = transfersIn(devnet.chain, FIRST, FIRST + 1, REPLAYED);
    expect(transfers.reduce((most, { value }) => (value > most ? value : most), 0n)).toBe(
      7_786_596_450_288_373_164_569_331_648_084n,
    );
    const lines = [...balancesAfter(transfers)].map(([key, balance]) => `${key} ${balance}`).sort();
    expect(lines).toHaveLength(404);
    expect(createHash('sha256').update(lines.join('\n')).digest('hex')).toBe(
      '3257d1cb56008e78ae22c4232a1c6c20a8d1eae4ffc3f5c87a29e08be58ddaba',
    );
  });

  test('values come through the wire exactly, nulls as nulls', async () => {
    const rows = (
      await collect(
        client,
        'SELECT value, to_address, total, receipt_contract_address FROM (SELECT gas_price AS total, * FROM transactions) q',
      )
    ).flatMap(({ batch }) => batch?.toArray() ?? []);
    expect(rows).toHaveLength(298);
    expect(rows.every((row) => /^\d+$/.test(String(row['value'])))).toBe(true);
    expect(rows.every((row) => row['receipt_contract_address'] === null || row['to_address'] === null)).toBe(
      true,
    );
    const logs = (await collect(client, 'SELECT topics, data FROM logs LIMIT 1')).flatMap(
      ({ batch }) => batch?.toArray() ?? [],
    );
    const topics = [...(logs[0]?.['topics'] ?? [])].map((topic) => Buffer.from(topic).toString('hex'));
    expect(topics).toEqual([
      'ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef',
      '0000000000000000000000006b75d8af000000e20b7a7ddf000ba900b4009a80',
      '0000000000000000000000007054b0f980a7eb5b3a6b3446f3c947d80162775c',
    ]);
    expect(Buffer.from(logs[0]?.['data']).toString('hex')).toBe(
      '00000000000000000000000000000000000000000000000061ec933f00000000',
    );
  });

  test('blocks can appear one after the other', () => {
    const chain = replayChain(DATA, { blocks: 0, network: 'eth' });
    expect(chain.view().head).toBeNull();
    let woken = 0;
    chain.subscribe(() => (woken += 1));
    chain.advance(1);
    expect(chain.view().head).toBe(FIRST);
    chain.advance(9);
    expect([chain.view().head, woken, chain.recorded]).toEqual([FIRST + 1, 2, 2]);
  });
});

describe('reading recorded blocks', () => {
  test('integers beyond 2^53 stay exact, in any place', () => {
    const text =
      '{"a":9007199254740993,"b":[58750003716598352816469,-9007199254740993],"c":1.5,"d":7,"e":"9007199254740993"}';
    expect(parseExactly(text)).toEqual({
      a: 9_007_199_254_740_993n,
      b: [58_750_003_716_598_352_816_469n, -9_007_199_254_740_993n],
      c: 1.5,
      d: 7,
      e: '9007199254740993',
    });
  });

  test('a directory without blocks, and a faulty line, are named', () => {
    const directory = mkdtempSync(join(tmpdir(), 'pgstrata-replay-'));
    expect(() => replayChain(directory)).toThrow(directory);
    writeFileSync(join(directory, 'x-blocks.jsonl'), '{"number":1}\n{oops\n');
    expect(() => replayChain(directory)).toThrow(
      expect.objectContaining({ kind: 'data', detail: expect.objectContaining({ line: 2 }) }),
    );
    writeFileSync(join(directory, 'x-blocks.jsonl'), '{"number":1}\n{"number":3}\n');
    expect(() => replayChain(directory)).toThrow('unbroken');
    rmSync(directory, { recursive: true });
  });
});
