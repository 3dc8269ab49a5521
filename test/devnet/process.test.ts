/** A devnet in its own process: says where it listens, makes blocks by the clock, ends when its parent is gone. */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { expect, test } from 'vitest';
import type { DevnetProcessOptions } from '../../src/devnet/process.ts';
import { connectFlight } from '../../src/flight/client.ts';
import { readUntil } from '../flight/collect.ts';

const MAIN = join(import.meta.dirname, '../../src/devnet/process.ts');

const start = async (
  options: DevnetProcessOptions,
): Promise<{ child: ChildProcess; url: string; exit: Promise<number | null> }> => {
  const child = spawn(process.execPath, [MAIN, JSON.stringify(options)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const exit = new Promise<number | null>((resolve) => child.once('exit', resolve));
  const [line] = await new Promise<string[]>((resolve) => {
    createInterface({ input: child.stdout }).once('line', (text) => resolve([text]));
  });
  return { child, exit, url: (JSON.parse(line ?? '') as { url: string }).url };
};

test('serves, makes blocks in real time, and ends when its stdin closes', async () => {
  const { child, url, exit } = await start({
    chain: { blocks: 2, accounts: 2, tokens: 1 },
    blockInterval_ms: 20,
  });
  const client = connectFlight({ url });
  const heads: number[] = [];
  await readUntil(
    client,
    'SELECT number FROM blocks',
    (messages) => {
      const last = messages.at(-1)?.metadata;
      if (last?.complete === true) heads.push(last.ranges[0]?.end ?? -1);
      return (heads.at(-1) ?? 0) >= 5;
    },
    { stream: true },
  );
  expect(heads).toEqual([...heads].sort((left, right) => left - right));
  client.close();
  child.stdin?.end();
  expect(await exit).toBe(0);
});

test('ends on SIGTERM', async () => {
  const { child, exit } = await start({ chain: { accounts: 2, tokens: 1 } });
  child.kill('SIGTERM');
  expect(await exit).toBe(0);
});
