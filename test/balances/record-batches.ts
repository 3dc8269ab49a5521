/** Record batches of transfers as a Flight server sends them, for streams that tests feed by hand. */
import { TimestampMicrosecond, Uint32, Uint64, Utf8 } from 'apache-arrow';
import type { RecordBatch } from 'apache-arrow';
import { batchOf, bigintData, bytesData, decimalData, numberData, utf8 } from '../arrow/columns.ts';
import { decimal } from './oracle.ts';

/** A transfer with nothing left to look up. */
export interface PlacedTransfer {
  readonly block: number;
  /** Position in its block. */
  readonly position: number;
  /** Microseconds since 1970. */
  readonly micros: bigint;
  /** Key of the asset, as text. */
  readonly token: string;
  readonly from: string;
  readonly to: string;
  readonly units: bigint;
}

/** The settings that load such batches. */
export const PLACED_TRANSFERS = {
  load: 'transfers',
  query: 'SELECT whatever the test feeds',
  ordinal: 'position',
  rules: ['to:+amount', 'from:-amount'],
} as const;

/** One batch; amounts as text or as 256-bit decimals. */
export const transfersBatch = (
  transfers: readonly PlacedTransfer[],
  scale: number,
  amounts: 'text' | 'decimal' = 'text',
): RecordBatch => {
  const text = (valueOf: (transfer: PlacedTransfer) => string) =>
    bytesData(new Utf8(), utf8(transfers.map(valueOf)));
  return batchOf({
    _block_num: bigintData(
      new Uint64(),
      transfers.map(({ block }) => BigInt(block)),
    ),
    timestamp: bigintData(
      new TimestampMicrosecond('UTC'),
      transfers.map(({ micros }) => micros),
    ),
    position: numberData(
      new Uint32(),
      transfers.map(({ position }) => position),
    ),
    token: text(({ token }) => token),
    from: text(({ from }) => from),
    to: text(({ to }) => to),
    amount:
      amounts === 'text'
        ? text(({ units }) => decimal(units, scale))
        : decimalData(
            256,
            scale,
            transfers.map(({ units }) => units),
          ),
  });
};
