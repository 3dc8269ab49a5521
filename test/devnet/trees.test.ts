/** Block trees with forks, streamed: whatever the reorgs before, the balances end where the vectors say. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { startDevnet } from '../../src/devnet/server.ts';
import { NOBODY, readTrees, treeChain } from '../../src/devnet/trees.ts';
import type { BlockTree, TreeChain } from '../../src/devnet/trees.ts';
import { connectFlight } from '../../src/flight/client.ts';
import { queryFlight } from '../../src/flight/query.ts';
import type { QueryMessage } from '../../src/flight/query.ts';

const FILE = join(import.meta.dirname, '../../../shared/data/reorg-cases.json');
const canRun = existsSync(FILE);
if (!canRun) console.warn(`SKIPPED: reorg vectors are not played here, ${FILE} is missing.`);

interface Row {
  readonly block: number;
  readonly from: string;
  readonly to: string;
  readonly value: bigint;
}

const hex = (value: unknown): string => `0x${Buffer.from(value as Uint8Array).toString('hex')}`;

const rowsOf = ({ batch }: QueryMessage): readonly Row[] =>
  (batch?.toArray() ?? []).map((row) => ({
    block: Number(row['block_num']),
    from: hex(row['from']),
    to: hex(row['to']),
    value: BigInt(String(row['value'])),
  }));

/** Lets blocks arrive until the head changes; false when there are none left. */
const moveHead = (chain: TreeChain): boolean => {
  const before = headHash(chain);
  while (chain.arrive()) if (headHash(chain) !== before) return true;
  return false;
};

const headHash = (chain: TreeChain): string => chain.view().hashOf(chain.view().head ?? 0);

/** What a careful reader of the stream ends with: a range that starts again replaces what it covers. */
const playThrough = async (tree: BlockTree): Promise<{ rows: readonly Row[]; reorgs: number }> => {
  const chain = treeChain(tree);
  const devnet = await startDevnet({ chain });
  const client = connectFlight({ url: devnet.url });
  let [rows, pending, end, reorgs]: [Row[], Row[], number, number] = [[], [], -1, 0];
  for await (const message of queryFlight(client, 'SELECT * FROM legs', { stream: true })) {
    pending.push(...rowsOf(message));
    const range = message.metadata?.ranges[0];
    if (message.metadata?.complete !== true || range === undefined) continue;
    if (range.start <= end) reorgs += 1;
    rows = [...rows.filter(({ block }) => block < range.start), ...pending];
    [pending, end] = [[], range.end];
    if (range.hash === headHash(chain) && !moveHead(chain)) break;
  }
  client.close();
  await devnet.stop();
  return { rows, reorgs };
};

const balances = (rows: readonly Row[]): ReadonlyMap<string, bigint> => {
  const sums = new Map<string, bigint>();
  for (const { from, to, value } of rows) {
    sums.set(from, (sums.get(from) ?? 0n) - value);
    sums.set(to, (sums.get(to) ?? 0n) + value);
  }
  return sums;
};

describe.runIf(canRun)('consensus test vectors', () => {
  test('every tree ends in its expected balances, after reorgs', async () => {
    let [played, reorgs] = [0, 0];
    for (const tree of readTrees(FILE)) {
      const result = await playThrough(tree);
      const found = balances(result.rows);
      for (const account of new Set([...found.keys(), ...Object.keys(tree.expected)])) {
        if (account === NOBODY) continue;
        expect(found.get(account) ?? 0n, `${tree.name} ${account}`).toBe(BigInt(tree.expected[account] ?? 0));
      }
      played += 1;
      reorgs += result.reorgs;
    }
    console.log(`played ${played} trees with ${reorgs} reorgs`);
    expect(played).toBeGreaterThan(90);
    expect(reorgs).toBeGreaterThan(played);
  });
});
