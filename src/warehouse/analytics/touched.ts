/** Which partitions the running transaction has opened, and the same in words. */
import { sql } from 'kysely';
import { on, type Client } from '../../db/query.ts';

/** One week of a managed set, or a table without weeks (the state, the openings). */
export interface TouchedPartitions {
  readonly relation: string;
  /** Its first day; null for a table without weeks. */
  readonly week: string | null;
  readonly kind: 'hashed' | 'consolidated';
  readonly touched: number;
  readonly partitions: number;
}

/** Reads what the transaction has opened so far. */
export const readTouched = async (client: Client): Promise<readonly TouchedPartitions[]> => {
  const { rows } = await sql<TouchedPartitions>`
    select relation, to_char(week at time zone 'UTC', 'YYYY-MM-DD') as week, kind, touched, partitions
      from strata.partitions_touched()`.execute(on(client));
  return rows;
};

const plural = (count: number, word: string): string => `${count} ${word}${count === 1 ? '' : 's'}`;

const sumOf = (rows: readonly TouchedPartitions[], field: 'touched' | 'partitions'): number =>
  rows.reduce((sum, row) => sum + row[field], 0);

const weeksInWords = (rows: readonly TouchedPartitions[]): string => {
  const opened = rows.filter(({ touched }) => touched > 0);
  const [first, last] = [opened[0]?.week, opened.at(-1)?.week];
  if (first === undefined) return `none of ${plural(rows.length, 'week')} was opened`;
  const merged = opened.filter(({ kind }) => kind === 'consolidated').length;
  const leaves = `${sumOf(opened, 'touched')} of ${plural(sumOf(rows, 'partitions'), 'partition')}`;
  const span =
    first === last ? `the week of ${first}` : `${plural(opened.length, 'week')}, ${first} to ${last}`;
  return `${leaves}: ${span} (${merged} consolidated, ${opened.length - merged} hashed); ${plural(sumOf(rows, 'partitions') - sumOf(opened, 'touched'), 'partition')} pruned`;
};

/** A line for each table. */
export const touchedInWords = (rows: readonly TouchedPartitions[]): string[] =>
  [...Map.groupBy(rows, ({ relation }) => relation)].map(([relation, parts]) => {
    const hasWeeks = parts.some(({ week }) => week !== null);
    return `${relation}: ${hasWeeks ? weeksInWords(parts) : `${sumOf(parts, 'touched')} of ${plural(sumOf(parts, 'partitions'), 'partition')}`}`;
  });
