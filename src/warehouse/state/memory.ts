/** The ledger in the memory of one process: for what is loaded again after a restart anyway, and as a model in tests. */
import { batchId } from '../../chain/batch-id.ts';
import { cutTail, knownBlocks, LEDGER_HORIZON, type LedgerTail } from '../../chain/ledger-tail.ts';
import type { BlockRange, Watermark } from '../../chain/range.ts';
import type { BlockWindow } from '../../chain/window.ts';
import { instantText } from '../../runtime/instant.ts';
import { addCounts } from '../datasets.ts';
import { committedTwice, type Erasure, type LedgerEntry, type StateStore } from './store.ts';

/** A row of the ledger: the range as it is now, the identity under which it was committed. */
interface Row {
  readonly range: BlockRange;
  readonly id: bigint;
  readonly count: LedgerEntry['count'];
}

/** A store that is empty at first. */
export const memoryStore = (): StateStore => {
  const ledger = new Map<string, readonly Row[]>();
  const rowsOf = (network: string): readonly Row[] => ledger.get(network) ?? [];
  const rangesOf = (network: string): LedgerTail => rowsOf(network).map(({ range }) => range);
  const isHit = ({ range }: Row, { from, to }: Erasure): boolean =>
    range.end >= from && range.start <= (to ?? Infinity);

  return {
    isProcessed: async (range) =>
      rowsOf(range.network).some(
        (row) => row.id === batchId(range) && row.range.start === range.start && row.range.end === range.end,
      ),
    markProcessed: async (entries) => {
      for (const { range } of entries)
        if (rowsOf(range.network).some((row) => row.range.start === range.start)) throw committedTwice(range);
      for (const entry of entries) {
        const rows = [...rowsOf(entry.range.network), { ...entry, id: batchId(entry.range) }];
        ledger.set(entry.range.network, inOrder(rows));
      }
    },
    resumePosition: async (detectGaps) =>
      [...ledger.keys()].flatMap((network) => {
        const ranges = rangesOf(network);
        const [gap] = gapsOf(ranges, { from: ranges[0]?.start ?? 0, to: null });
        return furthest(detectGaps ? ranges.filter(({ start }) => start < gap!.from!) : ranges);
      }),
    tails: async (before = null) =>
      new Map(
        [...ledger.keys()]
          .map((network) => [network, tailOf(rangesOf(network), before ?? Infinity)] as const)
          .filter(([, tail]) => tail.length > 0),
      ),
    gaps: async (network, window) => gapsOf(rangesOf(network), window),
    invalidSpan: async (erasure) => {
      const hit = rowsOf(erasure.network).filter((row) => isHit(row, erasure));
      if (hit.length === 0) return null;
      const cut = hit.filter(({ range }) => range.start < erasure.from).map(({ range }) => range.end);
      const times = hit.map(({ count }) => count.minTime).filter((time) => time !== null);
      return {
        from: erasure.from,
        to: erasure.to,
        cutEnd: cut.length === 0 ? null : Math.max(...cut),
        minTime: times.length === 0 ? null : new Date(instantText(Math.min(...times))),
      };
    },
    invalidate: async (erasure, cutRows = 0) => {
      const rows = rowsOf(erasure.network).flatMap((row) => {
        if (!isHit(row, erasure)) return [row];
        return cutTail([row.range], erasure.from).map((range) => ({
          ...row,
          range,
          count: { ...row.count, rows: row.count.rows - cutRows },
        }));
      });
      ledger.set(erasure.network, rows);
    },
    cleanup: async (network, before, keep = LEDGER_HORIZON) => {
      const rows = rowsOf(network);
      const old = rows.slice(0, Math.max(0, rows.length - keep)).filter(({ range }) => range.end < before);
      const merged: Row[] = [];
      for (const row of old) {
        const last = merged.at(-1);
        if (last !== undefined && last.range.end + 1 === row.range.start)
          merged.splice(-1, 1, mergeRows(last, row));
        else merged.push(row);
      }
      ledger.set(network, inOrder([...merged, ...rows.filter((row) => !old.includes(row))]));
      return old.length - merged.length;
    },
  };
};

const inOrder = (rows: readonly Row[]): readonly Row[] =>
  rows.toSorted((a, b) => a.range.start - b.range.start);

const furthest = (ranges: LedgerTail): readonly Watermark[] =>
  knownBlocks(ranges)
    .toSorted((a, b) => b.number - a.number)
    .slice(0, 1);

const tailOf = (ranges: LedgerTail, before: number): LedgerTail => {
  const next = ranges.findIndex(({ start }) => start >= before);
  const end = next < 0 ? ranges.length : next;
  return ranges.slice(Math.max(0, end - LEDGER_HORIZON), end + 1);
};

const gapsOf = (ranges: LedgerTail, { from, to }: BlockWindow): readonly BlockWindow[] => {
  const gaps: BlockWindow[] = [];
  const end = to ?? Infinity;
  let reached = from ?? 0;
  for (const range of ranges) {
    if (range.start > reached && reached < end) gaps.push({ from: reached, to: Math.min(range.start, end) });
    reached = Math.max(reached, range.end + 1);
  }
  return reached < end ? [...gaps, { from: reached, to }] : gaps;
};

/** Two neighbours as one; it keeps the identity of the first. */
const mergeRows = (a: Row, b: Row): Row => ({
  range: { ...b.range, start: a.range.start, prevHash: a.range.prevHash },
  id: a.id,
  count: addCounts(a.count, b.count),
});
