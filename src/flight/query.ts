/** A Flight query whose messages come with their block ranges already parsed. */
import type { RecordBatch, Schema } from 'apache-arrow';
import { parseMetadata } from '../chain/metadata.ts';
import type { BatchMetadata } from '../chain/range.ts';
import type { FlightClient, QueryOptions } from './client.ts';

/** One message of a query: columns, and what they cover where the server says it. */
export interface QueryMessage {
  readonly schema: Schema;
  /** Null for a message without a record batch: the schema itself, or metadata alone. */
  readonly batch: RecordBatch | null;
  /** Null where the message carries no metadata, as from Flight servers that know nothing of blocks. */
  readonly metadata: BatchMetadata | null;
}

/**
 * Runs `sql` and yields its messages in the order sent, each with the ranges that belong to it.
 *
 * @throws WarehouseError as {@link FlightClient.query} does, and `protocol` for malformed metadata.
 */
export async function* queryFlight(
  client: FlightClient,
  sql: string,
  options: QueryOptions = {},
): AsyncGenerator<QueryMessage, void, undefined> {
  for await (const { schema, batch, metadata } of client.query(sql, options)) {
    yield { schema, batch, metadata: metadata === null ? null : parseMetadata(metadata) };
  }
}
