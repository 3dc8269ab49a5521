/** Which column of a query is what of a snapshot: as configured, or found under its usual name. */
import type { RecordBatch, Schema } from 'apache-arrow';
import { badValue, located, shortened } from '../arrow/faults.ts';
import { arrowTypeName } from '../arrow/types.ts';
import type { SnapshotsConfig } from '../runtime/config.ts';
import { WarehouseError } from '../runtime/errors.ts';
import { unknownColumns } from './target-table.ts';

/** Columns of the query; null for what it does not give. */
export interface SnapshotColumns {
  readonly time: string;
  readonly account: string;
  readonly asset: string;
  /** The balance; of a query that gives none, the usd value. */
  readonly balance: string;
  readonly usdValue: string | null;
  readonly data: string | null;
  /** Null where neither server nor query know of blocks. */
  readonly block: string | null;
}

/**
 * Finds the columns. What is configured must be there; balance, usd value and data are also taken by their usual names.
 *
 * @param hasBlocks false for a server whose results carry no block ranges: its rows need no block
 * @throws WarehouseError `config` naming all columns that are missing
 */
export const snapshotColumns = (
  schema: Schema,
  config: SnapshotsConfig,
  hasBlocks: boolean,
): SnapshotColumns => {
  const given = new Set(schema.fields.map((field) => field.name));
  const usual = (configured: string | undefined, name: string): string | null =>
    configured ?? (given.has(name) ? name : null);
  const usdValue = usual(config.usd_value, 'usd_value');
  const balance = usual(config.balance, 'balance') ?? usdValue;
  const data = usual(config.data, 'data');
  const block = hasBlocks || given.has(config.block) ? config.block : null;
  const { time, account, asset, network_column: network } = config;
  const named = [block, time, account, asset, network ?? null, balance, usdValue, data];
  const missing = named.filter((column) => column !== null && !given.has(column)) as string[];
  if (missing.length > 0) throw unknownColumns([...new Set(missing)], schema);
  if (balance === null) {
    throw new WarehouseError('config', 'the query has neither a balance nor a usd value', {
      column: 'balance',
      remedy: `Name the column with \`balance\` or \`usd_value\`; it gives out ${[...given].join(', ')}.`,
    });
  }
  return { time, account, asset, balance, usdValue, data, block };
};

/** A backslash-u0000 that is no text about one; jsonb cannot hold the character. */
const ESCAPED_NUL = /(?<!\\)(?:\\\\)*\\u0000/;

/** A check of rows whose data come as text: is it JSON? Lists, structs and maps always become JSON. */
export const jsonCheck = (batch: RecordBatch, column: string | null): ((row: number) => void) => {
  const field = batch.schema.fields.find(({ name }) => name === column);
  if (field === undefined || !/Utf8/.test(arrowTypeName(field.type) ?? '')) return () => undefined;
  const values = batch.getChild(field.name)!;
  return (row) => {
    const text: unknown = values.get(row);
    if (typeof text !== 'string') return;
    const fault = faultOf(text);
    if (fault !== null)
      throw located(badValue(fault, shortened(text), 'Mend it in the query, or leave the column out.'), {
        column: field.name,
      });
  };
};

const faultOf = (text: string): string | null => {
  try {
    JSON.parse(text);
  } catch {
    return 'text that is not JSON';
  }
  return ESCAPED_NUL.test(text) ? 'JSON with a \\u0000, which PostgreSQL cannot hold' : null;
};
