/** Asks the SQL functions and makes their rows comparable: exact numbers without trailing zeros, accounts as text, instants in microseconds. */
import type { Client } from '../../src/db/query.ts';
import { accountText } from '../../src/warehouse/account.ts';

const NUMBER = /^-?\d+\.\d+$/;

const plain = (value: unknown): unknown => {
  if (Buffer.isBuffer(value)) return accountText(value);
  if (value instanceof Date) return BigInt(value.getTime()) * 1000n;
  if (typeof value === 'string' && NUMBER.test(value)) return value.replace(/\.?0+$/, '');
  return value;
};

/** Rows of a query; select ids as text. */
export const ask = async (
  client: Client,
  text: string,
  values: readonly unknown[] = [],
): Promise<Record<string, unknown>[]> => {
  const { rows } = await client.query<Record<string, unknown>>(text, [...values]);
  return rows.map((row) =>
    Object.fromEntries(Object.entries(row).map(([name, value]) => [name, plain(value)])),
  );
};
