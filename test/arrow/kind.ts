/** One kind of column for the round trip: how to draw values, lay them out, and what PostgreSQL must say they are. */
import type { Data } from 'apache-arrow';
import type fc from 'fast-check';

import type { PgType } from '../../src/arrow/types.ts';

/** One kind of column: how to draw values, lay them out, and what PostgreSQL must say they are. */
export interface Kind<T> {
  readonly pgType: PgType;
  readonly draw: fc.Arbitrary<T>;
  readonly lay: (values: readonly (T | null)[]) => Data;
  /** SQL that shows column `v` as text. */
  readonly show: string;
  readonly expect: (value: T) => string;
}

/** Erases the value type: a kind is used as a whole. */
export const kind = <T>(kind: Kind<T>): Kind<unknown> => kind as unknown as Kind<unknown>;
