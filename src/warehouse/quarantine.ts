/** Rows that were refused a place: kept with their reason, in the transaction that would have loaded them. */
import type { RecordBatch } from 'apache-arrow';
import { renderJson } from '../arrow/json.ts';
import { on, type Client } from '../db/query.ts';

/** One refused row. */
export interface Refused {
  readonly sourceId: number;
  readonly block: number;
  readonly reason: string;
  /** The row, as JSON. */
  readonly detail: string;
}

/** Rows per INSERT: four parameters each, PostgreSQL takes 65,535. */
const ROWS_PER_INSERT = 10_000;

/** Writes refused rows. */
export const quarantine = async (client: Client, refused: readonly Refused[]): Promise<void> => {
  for (let start = 0; start < refused.length; start += ROWS_PER_INSERT) {
    await on(client)
      .insertInto('quarantine')
      .values(
        refused.slice(start, start + ROWS_PER_INSERT).map((row) => ({
          source_id: row.sourceId,
          block_num: row.block,
          reason: row.reason,
          detail: row.detail,
        })),
      )
      .execute();
  }
};

/** A row of a record batch as JSON: numbers exact, times in full, bytes as 0x hex. Slow; for the few rows that are refused. */
export const rowAsJson = (batch: RecordBatch, row: number): string => {
  const members = batch.schema.fields.map(
    ({ name }, index) => `${JSON.stringify(name)}:${valueAsJson(batch, index, row)}`,
  );
  return `{${members.join(',')}}`;
};

/** What jsonb cannot hold (a NUL in a text) must not keep a refused row from being kept: it shows as U+2400 here. */
const valueAsJson = (batch: RecordBatch, index: number, row: number): string => {
  try {
    return renderJson(batch.data.children[index]!)(row);
  } catch {
    const value = batch.getChildAt(index)?.get(row) as { toString(): string } | null;
    return JSON.stringify(value?.toString() ?? null).replaceAll(String.raw`\u0000`, '\u2400');
  }
};
