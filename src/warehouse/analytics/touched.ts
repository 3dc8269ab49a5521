/** Which partitions the running transaction has opened, and the same in words. */
import { sql } from 'kysely';
import { on, type Client } from '../../db/query.ts';

/** One week of a managed set, or a table without weeks (the state, the openings). */
export interface TouchedPartitions {
  readonly relation: string;
  /** Its first day; null for a table without weeks. */
  readonly week: string | null;
  readonly kind: 'hashed' | 'consolidated' | 'sharded' | 'columnar';
  /** Of its partitions; on a cluster of its shards. */
  readonly touched: number;
  readonly partitions: number;
}

/** Reads what the transaction has opened so far on one server. */
export const readTouched = async (client: Client): Promise<readonly TouchedPartitions[]> => {
  const { rows } = await sql<TouchedPartitions>`
    select relation, to_char(week at time zone 'UTC', 'YYYY-MM-DD') as week, kind, touched, partitions
      from strata.partitions_touched()`.execute(on(client));
  return rows;
};

const plural = (count: number, word: string): string => `${count} ${word}${count === 1 ? '' : 's'}`;

const sumOf = (rows: readonly TouchedPartitions[], field: 'touched' | 'partitions'): number =>
  rows.reduce((sum, row) => sum + row[field], 0);

/** What parts of a week are called, and the kinds of weeks, those that maintenance has settled first. */
const wordsOf = (rows: readonly TouchedPartitions[]): Record<'part' | 'settled' | 'other', string> =>
  rows.some(({ kind }) => kind === 'sharded' || kind === 'columnar')
    ? { part: 'shard', settled: 'columnar', other: 'by row' }
    : { part: 'partition', settled: 'consolidated', other: 'hashed' };

const weeksInWords = (rows: readonly TouchedPartitions[]): string => {
  const opened = rows.filter(({ touched }) => touched > 0);
  const [first, last] = [opened[0]?.week, opened.at(-1)?.week];
  if (first === undefined) return `none of ${plural(rows.length, 'week')} was opened`;
  const { part, settled, other } = wordsOf(rows);
  const merged = opened.filter(({ kind }) => kind === settled).length;
  const leaves = `${sumOf(opened, 'touched')} of ${plural(sumOf(rows, 'partitions'), part)}`;
  const span =
    first === last ? `the week of ${first}` : `${plural(opened.length, 'week')}, ${first} to ${last}`;
  return `${leaves}: ${span} (${merged} ${settled}, ${opened.length - merged} ${other}); ${plural(sumOf(rows, 'partitions') - sumOf(opened, 'touched'), part)} pruned`;
};

/** A line for each table. */
export const touchedInWords = (rows: readonly TouchedPartitions[]): string[] =>
  [...Map.groupBy(rows, ({ relation }) => relation)].map(([relation, parts]) => {
    const hasWeeks = parts.some(({ week }) => week !== null);
    return `${relation}: ${hasWeeks ? weeksInWords(parts) : `${sumOf(parts, 'touched')} of ${plural(sumOf(parts, 'partitions'), wordsOf(parts).part)}`}`;
  });
