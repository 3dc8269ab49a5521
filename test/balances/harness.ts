/** Quick set-up for targeted balance tests: a stream fed with plain transfers, and tables read back. */
import type { Pool } from '../../src/db/query.ts';
import { assetId, assetIdText } from '../../src/warehouse/assets.ts';
import { verifyBalances, type VerifyReport } from '../../src/warehouse/verify.ts';
import { SUNDAY, type Step, type Transfer } from './histories.ts';
import { createPlayer, type Player, type PlayerOptions } from './play.ts';

/** An hour, a day and a week in microseconds. */
export const HOUR = 3_600_000_000n;
export const DAY = 24n * HOUR;
export const WEEK = 7n * DAY;

/** `units` from one account to another, so many microseconds behind the first Sunday. */
export const move = (from: number, to: number, units: number | bigint, at: bigint, asset = 0): Transfer => ({
  from,
  to,
  asset,
  units: BigInt(units),
  when: { fixed: at },
});

/** A step that appends these blocks in one microbatch each. */
export const blocksOf = (...blocks: readonly (readonly Transfer[])[]): Step => ({
  back: 0,
  reinclude: false,
  blocks,
  blocksPerBatch: 1,
  parts: 1,
  replay: false,
  crash: null,
  loss: null,
});

/** A player of whole units by the hour. */
export const openStream = (
  pool: Pool,
  stream: string,
  options: Partial<PlayerOptions> & { readonly grain?: 'hour' | 'day' } = {},
): Player =>
  createPlayer(
    pool,
    { grain: options.grain ?? 'hour', scale: 0, amounts: 'text', commitRows: 1000 },
    { stream, tokens: [`${stream}_a`, `${stream}_b`], ...options },
  );

/** Id of an asset that {@link openStream} makes. */
export const assetOf = (stream: string, letter: 'a' | 'b' = 'a'): string =>
  assetIdText(
    assetId({ network: 'tests', standard: 'erc20', assetKey: `${stream}_${letter}`, tokenId: null }),
  );

/** Text of the instant so many microseconds behind the first Sunday. */
export const instant = (at: bigint): string => {
  const micros = SUNDAY + at;
  const milliseconds = micros / 1000n;
  return `${new Date(Number(milliseconds)).toISOString().slice(0, -1)}${String(micros % 1000n).padStart(3, '0')}Z`;
};

/** What `pgstrata verify` says of everything. */
export const verified = (pool: Pool): Promise<VerifyReport> => verifyBalances(pool, { oneIn: 1 });

/** The one value a query gives. */
export const valueOf = async <T>(pool: Pool, text: string, values: readonly unknown[] = []): Promise<T> => {
  const { rows } = await pool.query<Record<string, T>>(text, [...values]);
  return Object.values(rows[0] ?? {})[0] as T;
};
