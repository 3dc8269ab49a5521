/** Proof that a copy is the source: counts and order-independent hashes of both sides at one snapshot. */
import { literal } from '../../../db/quote.ts';
import type { Pool } from '../../../db/query.ts';
import { WarehouseError } from '../../../runtime/errors.ts';
import { atOneSnapshot } from './copy.ts';
import type { CopySpec } from './copy-spec.ts';

/** One side, or a part of it. */
interface Sum {
  readonly what: string;
  readonly rows: number;
  /** Sum of the rows' 64-bit hashes. */
  readonly hash: string;
}

/** What the journal keeps. */
export interface Proof {
  readonly rows: number;
  readonly hash: string;
  /** The tables of the source, one by one. */
  readonly parts: readonly Sum[];
  /** Rows whose key was in the log at that moment: written since the last replay, so left out on both sides. */
  readonly in_flight: number;
}

/** The statements; each gives one sum, the target's parts come last. */
export const proofStatements = ({
  source,
  parts,
  target,
  keys,
  contents,
  log,
}: CopySpec): readonly string[] => {
  const sum = (side: string, table: string, from: string): string =>
    `select ${literal(side)} as side, ${literal(table)} as what, count(*) as rows, coalesce(sum(hash_record_extended(row(${contents.join(', ')}), 0)), 0)::text as hash from ${from}`;
  const logged = (table: string): string =>
    `(select distinct ${keys.join(', ')} from ${log}) k join ${table} t on ${keys.map((key) => `t.${key} = k.${key}`).join(' and ')}`;
  return [
    ...parts.map((part) => sum('source', part, `${part} t`)),
    sum('target', target, `${target} t`),
    sum('source in flight', source, logged(source)),
    sum('target in flight', target, logged(target)),
  ];
};

/**
 * Compares source and target.
 *
 * @throws WarehouseError `internal` when they differ: then nothing may be swapped
 */
export const prove = async (
  pool: Pool,
  statements: readonly string[],
  signal: AbortSignal,
): Promise<Proof> => {
  const sums = (await atOneSnapshot(pool, statements, signal)).map(
    ([row]) => row as unknown as Sum & { readonly side: string },
  );
  const of = (side: string): readonly Sum[] => sums.filter((sum) => sum.side === side);
  const settled = (side: string): { readonly rows: number; readonly hash: bigint } => ({
    rows: total(of(side)).rows - total(of(`${side} in flight`)).rows,
    hash: total(of(side)).hash - total(of(`${side} in flight`)).hash,
  });
  const [source, target] = [settled('source'), settled('target')];
  if (source.rows !== target.rows || source.hash !== target.hash) {
    throw new WarehouseError(
      'internal',
      `the copy is not the source: ${source.rows} rows with hash ${source.hash} there, ${target.rows} with ${target.hash} here`,
      { remedy: 'Nothing was exchanged and nothing is lost. Report this with the journal row.' },
    );
  }
  return {
    rows: source.rows,
    hash: source.hash.toString(),
    parts: of('source').map(({ what, rows, hash }) => ({ what, rows, hash })),
    in_flight: total(of('source in flight')).rows,
  };
};

const total = (sums: readonly Sum[]): { readonly rows: number; readonly hash: bigint } => ({
  rows: sums.reduce((all, { rows }) => all + rows, 0),
  hash: sums.reduce((all, { hash }) => all + BigInt(hash), 0n),
});
