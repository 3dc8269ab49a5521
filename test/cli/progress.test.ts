/** The progress line: what it says of shares, rates and time to go, on a terminal and off it. */
import { PassThrough } from 'node:stream';
import { expect, test } from 'vitest';
import { showProgress } from '../../src/cli/ingest-progress.ts';
import { createProgress, duration, progressLine } from '../../src/cli/progress.ts';
import type { ProgressState } from '../../src/cli/progress.ts';
import { WarehouseError } from '../../src/runtime/errors.ts';
import { createLogger } from '../../src/runtime/log.ts';

const state: ProgressState = { label: 'erc20', done: 250, total: 1000, unit: 'block', rows: 12_000 };

test('says share, counts, rate and time to go', () => {
  const line = progressLine(state, 200, 10_000, 20);
  expect(line).toMatch(
    /^erc20 {2}█{6}░{18} {2}25 % {2}block 250\/1,000 {2}12,000 rows {2}500 rows\/s {2}1 min 15 s to go$/,
  );
});

test('says what it can where the end is not known, or nothing has advanced yet', () => {
  expect(progressLine({ ...state, total: null }, 0, 0, 0)).toBe('erc20  block 250  12,000 rows');
  expect(progressLine(state, 0, 0, 0)).not.toMatch(/to go|rows\/s|NaN|Infinity/);
});

test('says what each worker is at', () => {
  const line = progressLine({ ...state, notes: ['1: 250–299', '2: 300–349'] }, 200, 10_000, 20);
  expect(line).toMatch(/1 min 15 s to go {2}\[1: 250–299\] {2}\[2: 300–349\]$/);
});

test.each([
  [8.4, '8 s'],
  [59.6, '1 min 0 s'],
  [200, '3 min 20 s'],
  [7500, '2 h 5 min'],
  [172_799, '47 h 59 min'],
  [27_003_438, '312 d'],
])('%d seconds are %s', (seconds, text) => {
  expect(duration(seconds)).toBe(text);
});

test('writes a plain line every ten seconds where there is no terminal, and no control characters', () => {
  const stream = new PassThrough();
  let now = 0;
  const progress = createProgress(stream as unknown as NodeJS.WriteStream, () => now);
  for (; now <= 25_000; now += 1000) progress.update({ ...state, done: now });
  progress.say('a word');
  progress.finish();
  const lines = String(stream.read()).trimEnd().split('\n');
  expect(lines).toHaveLength(3);
  expect(lines.at(-1)).toBe('a word');
  expect(lines.join('')).not.toContain('\u001b');
});

test('tells people of trouble in sentences: the remedy once, no secret', () => {
  const said: string[] = [];
  const progress = {
    update: () => undefined,
    finish: () => undefined,
    say: (text: string) => said.push(text),
  };
  const log = createLogger({ PGSTRATA_LOG: 'silent' });
  const manner = { secrets: ['s3cret'], unattended: true, told: true };
  const tell = showProgress(progress, log, manner);
  const error = new WarehouseError('connection', 'the server refuses s3cret', { remedy: 'Start it.' });
  for (const failures of [1, 2]) tell({ kind: 'retry', stream: 'a', error, failures, delay_ms: 1600 });
  tell({ kind: 'slower', stream: 'a', delay_ms: 400 });
  tell({ kind: 'failed', stream: 'a', error });
  expect(said).toEqual([
    'a: the server refuses ***; trying again in 1.6 s\n    → Start it.',
    'a: the server refuses ***; trying again in 1.6 s',
    'a: waiting 0.4 s before each query, for the server is overloaded',
    'a: stopped: the server refuses ***\n    → Start it.',
  ]);
});
