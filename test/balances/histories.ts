/** Histories for the property tests: blocks of transfers with late times, edges, huge amounts; forks, replays, crashes. */
import fc from 'fast-check';

/** One transfer; accounts and assets by number. */
export interface Transfer {
  readonly from: number;
  readonly to: number;
  readonly asset: number;
  /** Amount in units of 10^-scale. */
  readonly units: bigint;
  readonly when: When;
}

/** The time of a transfer: microseconds behind the clock of its step, or behind {@link SUNDAY}. */
export type When = { readonly clock: number } | { readonly fixed: bigint };

/** What happens next to a stream. */
export interface Step {
  /** Blocks that a reorg takes away first; 0 appends. */
  readonly back: number;
  /** Whether the transfers taken away come again, in the new blocks. */
  readonly reinclude: boolean;
  readonly blocks: readonly (readonly Transfer[])[];
  /** Blocks of one microbatch, and record batches of one microbatch. */
  readonly blocksPerBatch: number;
  readonly parts: number;
  /** Whether the server sends the last microbatch again. */
  readonly replay: boolean;
  /** Statement of the transaction at which the connection dies, and whether that statement is still sent. */
  readonly crash: { readonly at: number; readonly sent: boolean } | null;
  /** How the state was lost before this step, if it was. */
  readonly loss: StateLoss | null;
}

/** Ways to lose the state. */
export type StateLoss = 'truncated' | 'leaf truncated' | 'deleted' | 'marked stale';

/** A whole history of one stream. */
export interface History {
  readonly grain: 'hour' | 'day';
  readonly scale: number;
  readonly amounts: 'text' | 'decimal';
  /** Rows after which a write is due: small ones cut microbatches into several COPYs. */
  readonly commitRows: number;
  readonly steps: readonly Step[];
}

/** Sunday 2026-01-04 00:00 UTC, the edge of a week, a day and an hour; microseconds since 1970. */
export const SUNDAY = 1_767_484_800_000_000n;

const HOUR = 3_600_000_000n;

/** How far the clock goes in a step. */
export const STEP_MICROS = 20 * 60_000_000;

/** Number of accounts; the first is the zero address. */
export const ACCOUNTS = 5;

const WEEK = 168n * HOUR;

const when: fc.Arbitrary<When> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ clock: fc.nat(STEP_MICROS - 1) }) },
  {
    weight: 2,
    arbitrary: fc
      .tuple(
        fc.constantFrom(0n, WEEK, 24n * HOUR, 6n * 24n * HOUR, HOUR, 25n * HOUR),
        fc.constantFrom(-1n, 0n, 1n),
      )
      .map(([edge, off]) => ({ fixed: edge + off })),
  },
  { weight: 2, arbitrary: fc.bigInt({ min: -WEEK, max: 2n * WEEK }).map((fixed) => ({ fixed })) },
);

const LIMIT = 2n ** 255n;

const units: fc.Arbitrary<bigint> = fc.oneof(
  { weight: 6, arbitrary: fc.bigInt({ min: 0n, max: 4n }) },
  {
    weight: 1,
    arbitrary: fc.constantFrom(-1n, -3n, LIMIT - 1n, -LIMIT, 10n ** 18n, 10n ** 40n, -(10n ** 20n)),
  },
  { weight: 1, arbitrary: fc.bigInt({ min: -LIMIT, max: LIMIT - 1n }) },
);

const account = fc.nat(ACCOUNTS - 1);

const transfer: fc.Arbitrary<Transfer> = fc.record({
  from: account,
  to: account,
  asset: fc.nat(1),
  units,
  when,
});

const step: fc.Arbitrary<Step> = fc.record({
  back: fc.oneof(
    { weight: 2, arbitrary: fc.constant(0) },
    { weight: 1, arbitrary: fc.integer({ min: 1, max: 5 }) },
  ),
  reinclude: fc.boolean(),
  blocks: fc.array(fc.array(transfer, { maxLength: 4 }), { minLength: 1, maxLength: 4 }),
  blocksPerBatch: fc.integer({ min: 1, max: 3 }),
  parts: fc.integer({ min: 1, max: 3 }),
  replay: fc.boolean(),
  crash: fc.option(fc.record({ at: fc.integer({ min: 1, max: 16 }), sent: fc.boolean() }), { freq: 5 }),
  loss: fc.option(fc.constantFrom<StateLoss[]>('truncated', 'leaf truncated', 'deleted', 'marked stale'), {
    freq: 40,
  }),
});

/** Histories of a few steps: most of what can go wrong needs two or three. */
export const histories: fc.Arbitrary<History> = fc.record({
  grain: fc.constantFrom('hour', 'day'),
  scale: fc.constantFrom(0, 6, 18),
  amounts: fc.constantFrom('text', 'decimal'),
  commitRows: fc.constantFrom(1, 3, 1000),
  steps: fc.array(step, { minLength: 1, maxLength: 5 }),
});
