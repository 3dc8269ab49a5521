/** Positions for rows that carry none: counted as they arrive, so that the same range read again counts alike. */
import type { RangePlace } from './datasets.ts';

/** Positions of rows in their block, in arrival order, for datasets that carry none. */
export interface RowCounter {
  next(place: RangePlace, block: number): number;
}

/** A counter that starts anew with each block, and with each microbatch: after a reorg the same block comes again. */
export const createRowCounter = (): RowCounter => {
  const last = new Map<number, { batchId: bigint; block: number; position: number }>();
  return {
    next: ({ sourceId, batchId }, block) => {
      const at = last.get(sourceId);
      if (at?.block === block && at.batchId === batchId) return ++at.position;
      last.set(sourceId, { batchId, block, position: 0 });
      return 0;
    },
  };
};

/** Positions in arrival order within the range a row came with: no two rows of a block share one. */
export const createArrivalCounter = (): ((place: RangePlace) => number) => {
  const last = new Map<number, { readonly batchId: bigint; position: number }>();
  return ({ sourceId, batchId }) => {
    const at = last.get(sourceId);
    if (at?.batchId === batchId) return ++at.position;
    last.set(sourceId, { batchId, position: 0 });
    return 0;
  };
};
