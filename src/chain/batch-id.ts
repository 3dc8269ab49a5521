/** The identity of a committed range: the same blocks on the same fork have the same id, wherever they are loaded. */
import { createHash } from 'node:crypto';
import type { BlockRange } from './range.ts';

/**
 * First 8 bytes of SHA-256 over `network:start:end:hash:prevHash` as a signed 64-bit integer, so that it fits a `bigint`
 * column; its 16 hex digits are the usual way to print it.
 */
export const batchId = (range: BlockRange): bigint =>
  createHash('sha256')
    .update(`${range.network}:${range.start}:${range.end}:${range.hash}:${range.prevHash ?? ''}`)
    .digest()
    .readBigInt64BE(0);

/** A batch id as it is usually printed: 16 hex digits. */
export const batchIdText = (id: bigint): string => BigInt.asUintN(64, id).toString(16).padStart(16, '0');
