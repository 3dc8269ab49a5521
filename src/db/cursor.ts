/** Reads a query's rows a batch at a time, however many there are. */
import type { ClientBase } from 'pg';
import Cursor from 'pg-cursor';

import { asWarehouseError } from './errors.ts';
import { asTypes, parserOf } from './value-types.ts';
import type { Parser } from './value-types.ts';

/**
 * The project's parsers, made safe for a cursor: `pg-cursor` calls them inside the socket's event, where a throw would
 * end the process. The failures are kept for us to throw.
 */
const guarded =
  (failures: unknown[]) =>
  (oid: number): Parser => {
    const parse = parserOf(oid);
    return (text) => {
      try {
        return parse(text);
      } catch (error) {
        failures.push(error);
        return null;
      }
    };
  };

/**
 * Yields the rows of a query. The client does nothing else meanwhile; leaving the loop early closes the cursor.
 *
 * @param batchRows how many rows are fetched, and held in memory, at a time
 * @throws WarehouseError when the query fails or a value cannot be represented
 * @example for await (const row of cursorRows<{ n: number }>(client, 'select n from t where n > $1', [5])) …
 */
export async function* cursorRows<Row>(
  client: ClientBase,
  sql: string,
  values: readonly unknown[] = [],
  batchRows = 1_000,
): AsyncGenerator<Row, void, undefined> {
  const failures: unknown[] = [];
  const cursor = client.query(new Cursor<Row>(sql, [...values], { types: asTypes(guarded(failures)) }));
  const lost = Promise.withResolvers<void>();
  client.once('end', lost.resolve);
  try {
    for (;;) {
      const rows = await cursor.read(batchRows);
      if (failures.length > 0) throw failures[0];
      yield* rows;
      if (rows.length < batchRows) return;
    }
  } catch (error) {
    throw asWarehouseError(error);
  } finally {
    await Promise.race([cursor.close(), lost.promise]); // a dead connection answers no close
    client.off('end', lost.resolve);
  }
}
