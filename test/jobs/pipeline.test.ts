/** The pipeline alone, with a writer whose every write the test lets go: what may be committed, and what never. */
import type { RecordBatch } from 'apache-arrow';
import { beforeEach, describe, expect, test } from 'vitest';
import type { BlockRange } from '../../src/chain/range.ts';
import { createPipeline } from '../../src/jobs/pipeline.ts';
import type { Pipeline } from '../../src/jobs/pipeline.ts';
import type { BatchWriter } from '../../src/warehouse/batches.ts';
import { NOTHING } from '../../src/warehouse/datasets.ts';
import type { Dataset, LoadBuffer } from '../../src/warehouse/datasets.ts';
import { until } from '../db/until.ts';
import { rangeOf, transfersBatch } from './scripted-server.ts';

interface TestBuffer extends LoadBuffer {
  readonly blocks: number[];
}

/** What has happened, in order: `write 1,2`, `commit 0–2`, `erase 5`, `abandon`. */
let log: string[];
/** Writes wait here until the test lets one go, or makes it fail. */
let waiting: PromiseWithResolvers<void>[];
let gated: boolean;

const buffer = (): TestBuffer => {
  const blocks: number[] = [];
  return {
    blocks,
    get rows() {
      return blocks.length;
    },
    append: (batch: RecordBatch, places) => {
      for (let row = 0; row < batch.numRows; row += 1) {
        blocks.push(Number(batch.getChild('_block_num')?.get(row)));
        if (batch.getChild('value')?.get(row) === 'bad') throw new Error('a bad value');
      }
      return new Map([[places[0]!.range.network, { ...NOTHING, rows: batch.numRows }]]);
    },
    prepare: () => undefined,
    clear: () => void blocks.splice(0),
  };
};

const dataset: Dataset = {
  partRows: Infinity,
  sets: () => Promise.resolve([]),
  definition: { stream: 'test', load: 'rows', target: 'none', grain: 'hour', definition: {} },
  prepare: () => Promise.resolve(),
  createBuffer: buffer,
  reserve: () => Promise.resolve(),
  write: () => Promise.resolve(),
  settle: () => Promise.resolve(),
  erase: () => Promise.resolve(0),
};

const spans = (ranges: readonly { readonly range: BlockRange }[]): string =>
  ranges.map(({ range }) => `${range.start}–${range.end}`).join(' ');

const writer: BatchWriter = {
  place: (ranges) => Promise.resolve(ranges.map((range) => ({ range, sourceId: 1, batchId: 1n }))),
  erase: ({ from, to }) => {
    log.push(`erase ${from}${to === null ? '' : `–${to}`}`);
    return Promise.resolve(0);
  },
  write: async (taken) => {
    const held = [...(taken as TestBuffer).blocks];
    if (gated) {
      const gate = Promise.withResolvers<void>();
      waiting.push(gate);
      await gate.promise;
    }
    log.push(`write ${held.join(',')}`);
  },
  commit: (entries) => {
    log.push(`commit ${spans(entries)}`);
    const cost = { bytes: 0, copy_ms: 0, fold_ms: 0, commit_ms: 0 };
    return Promise.resolve({ ranges: entries, rows: 0, quarantined: 0, unmatched: null, dropped: 0, cost });
  },
  abandon: () => {
    log.push('abandon');
    return Promise.resolve();
  },
};

const letGo = async (): Promise<void> => (await until('a write', () => waiting.shift())).resolve();

const open = (commitRows: number): Pipeline =>
  createPipeline(writer, dataset, commitRows, { committed: () => undefined, reorged: () => undefined });

const append = (pipeline: Pipeline, block: number, rows = 1): Promise<void> =>
  pipeline.append(transfersBatch(Array.from({ length: rows }, () => ({ block }))), [rangeOf(block, block)]);

beforeEach(() => {
  log = [];
  waiting = [];
  gated = true;
});

describe('a pipeline', () => {
  test('commits a microbatch at once while the writer is idle, and several together while it is busy', async () => {
    const pipeline = open(100);
    for (const block of [0, 1, 2]) {
      await append(pipeline, block);
      await pipeline.watermark([rangeOf(block, block)]);
    }
    gated = false;
    await letGo();
    await pipeline.finish();
    expect(log).toEqual(['write 0', 'commit 0–0', 'write 1,2', 'commit 1–1 2–2', 'abandon']);
  });

  test('whole microbatches that share a buffer with a part of the next are committed with it, never with the part', async () => {
    const pipeline = open(2);
    await append(pipeline, 0);
    await pipeline.watermark([rangeOf(0, 0)]); // being written
    await append(pipeline, 1);
    await pipeline.watermark([rangeOf(1, 1)]); // gathered
    gated = false;
    const spilling = append(pipeline, 2, 4); // fills the buffer that holds block 1: both are written, neither committed
    await letGo();
    await spilling;
    await until('the written part', () => log.some((line) => line === 'write 1,2,2,2,2'));
    expect(log).toEqual(['write 0', 'commit 0–0', 'write 1,2,2,2,2']);
    await append(pipeline, 2, 1);
    await pipeline.watermark([rangeOf(2, 2)]);
    await pipeline.finish();
    expect(log.slice(3)).toEqual(['write 2', 'commit 1–1 2–2', 'abandon']);
  });

  test('that is stopped inside a microbatch forgets what was written of it', async () => {
    const pipeline = open(2);
    await append(pipeline, 0);
    await pipeline.watermark([rangeOf(0, 0)]);
    await append(pipeline, 1);
    await pipeline.watermark([rangeOf(1, 1)]);
    gated = false;
    const spilling = append(pipeline, 2, 4);
    await letGo();
    await spilling;
    await pipeline.finish();
    expect(log).toEqual(['write 0', 'commit 0–0', 'write 1,2,2,2,2', 'abandon']);
  });

  test('never commits a buffer that failed half-way, although whole microbatches are in it', async () => {
    const pipeline = open(100);
    await append(pipeline, 0);
    await pipeline.watermark([rangeOf(0, 0)]); // being written
    await append(pipeline, 1);
    await pipeline.watermark([rangeOf(1, 1)]); // gathered
    const bad = transfersBatch([{ block: 2 }, { block: 2, value: 'bad' }]);
    await expect(pipeline.append(bad, [rangeOf(2, 2)])).rejects.toThrow('a bad value');
    gated = false;
    await letGo();
    await pipeline.abandon();
    expect(log).toEqual(['write 0', 'commit 0–0', 'abandon']);
  });

  test('erases before it writes, and writes what was gathered before it erases', async () => {
    gated = false;
    const pipeline = open(100);
    await append(pipeline, 5);
    await pipeline.watermark([rangeOf(5, 5)]);
    await pipeline.reorg(rangeOf(5, 6, 'b', 'a'));
    await append(pipeline, 5);
    await pipeline.watermark([rangeOf(5, 6, 'b', 'a')]);
    await pipeline.finish();
    expect(log).toEqual(['write 5', 'commit 5–5', 'erase 5', 'write 5', 'commit 5–6', 'abandon']);
  });

  test('tells by its signal that a write failed, and takes nothing more', async () => {
    const pipeline = open(100);
    await append(pipeline, 0);
    await pipeline.watermark([rangeOf(0, 0)]);
    (await until('a write', () => waiting.shift())).reject(new Error('disk full'));
    await until('the failure', () => pipeline.failed.aborted);
    await expect(append(pipeline, 1)).rejects.toThrow('disk full');
    await expect(pipeline.finish()).rejects.toThrow('disk full');
    await pipeline.abandon();
    expect(log).toEqual(['abandon']);
  });
});
