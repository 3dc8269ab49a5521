/** How the history of a stream is loaded by several workers: the part of `pgstrata.yaml` that says it. */
import { z } from 'zod';

/** Most workers of a stream: far beyond what any server or PostgreSQL can use. */
export const WORKERS_MAX = 64;

/** `streams.<name>.parallel` of a policy file. */
export const parallelSchema = z
  .strictObject({
    workers: z
      .union([z.int().min(1).max(WORKERS_MAX), z.literal('auto')])
      .default('auto')
      .describe('auto: as many as make it faster'),
    partitions: z.int().min(1).max(10_000_000).optional(),
    partition_blocks: z.int().min(1).max(10_000_000).optional(),
    target_rows: z.int().min(1).max(100_000_000).optional(),
    reorg_buffer: z.int().min(0).max(1_000_000).default(200).describe('newest blocks, loaded last'),
    stop_on_error: z.boolean().default(true),
    bulk: z
      .boolean()
      .default(true)
      .describe('weeks without data are loaded beside the set, and attached whole'),
  })
  .refine(
    ({ partitions, partition_blocks: blocks, target_rows: rows }) =>
      [partitions, blocks, rows].filter((size) => size !== undefined).length <= 1,
    { message: 'must have one of partitions, partition_blocks and target_rows' },
  );

/** The same, checked and with defaults filled in. */
export type ParallelConfig = z.infer<typeof parallelSchema>;
