/** A shared value: one question at a time, and none while the answer is young. */
import { expect, test } from 'vitest';
import { createCell, createCells } from '../../src/server/cell.ts';

/** A cell on a clock of our own, whose reads take `cost` of it. */
const cellOn = (freshFor_ms: number, cost = 0) => {
  const clock = { at: 0, reads: 0, fail: false };
  const cell = createCell(
    () => {
      clock.at += cost;
      clock.reads++;
      return clock.fail ? Promise.reject(new Error('away')) : Promise.resolve(clock.reads);
    },
    freshFor_ms,
    () => clock.at,
  );
  return { cell, clock };
};

test('all who ask at once share one question', async () => {
  const { cell, clock } = cellOn(100);
  expect(await Promise.all([cell.get(), cell.get(), cell.get()])).toEqual([1, 1, 1]);
  clock.at = 99;
  expect(await cell.get()).toBe(1);
  clock.at = 100;
  expect(await cell.get()).toBe(2);
});

test('what is dear to read is read seldom: it takes a tenth of the time at most', async () => {
  const { cell, clock } = cellOn(100, 500);
  await cell.get();
  clock.at = 500 + 4999;
  await cell.get();
  expect(clock.reads).toBe(1);
  clock.at = 500 + 5000;
  await cell.get();
  expect(clock.reads).toBe(2);
});

test('a failure is not kept, and the last value is', async () => {
  const { cell, clock } = cellOn(100);
  expect(cell.last()).toBeNull();
  await cell.get();
  clock.at = 100;
  clock.fail = true;
  await expect(cell.get()).rejects.toThrow('away');
  await expect(cell.get()).rejects.toThrow('away');
  expect([cell.last(), clock.reads]).toEqual([1, 3]);
});

test('of named cells the least recently used is forgotten', async () => {
  const cells = createCells<string>(1_000_000, 2);
  let reads = 0;
  const read = (name: string): Promise<string> => cells(name, () => Promise.resolve(`${name}${++reads}`));
  expect([await read('a'), await read('b'), await read('a'), await read('c')]).toEqual([
    'a1',
    'b2',
    'a1',
    'c3',
  ]);
  expect([await read('a'), await read('b')]).toEqual(['a1', 'b4']);
});
