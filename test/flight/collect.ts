/** What tests do with a query: read it whole, read it up to a point, or catch how it failed. */
import type { FlightClient, FlightMessage, QueryOptions } from '../../src/flight/client.ts';
import { queryFlight } from '../../src/flight/query.ts';
import type { QueryMessage } from '../../src/flight/query.ts';
import { WarehouseError } from '../../src/runtime/errors.ts';

/** Everything an iteration yields. */
export const gather = async <Item>(items: AsyncIterable<Item>): Promise<Item[]> => {
  const gathered: Item[] = [];
  for await (const item of items) gathered.push(item);
  return gathered;
};

/** All messages of a query that ends. */
export const collect = (
  client: FlightClient,
  sql: string,
  options: QueryOptions = {},
): Promise<FlightMessage[]> => gather(client.query(sql, options));

/** Messages of a query until `enough` says so; the query is then abandoned. */
export const readUntil = async (
  client: FlightClient,
  sql: string,
  enough: (messages: readonly QueryMessage[]) => boolean,
  options: QueryOptions = {},
): Promise<QueryMessage[]> => {
  const messages: QueryMessage[] = [];
  for await (const message of queryFlight(client, sql, options)) {
    messages.push(message);
    if (enough(messages)) break;
  }
  return messages;
};

/** Rows in all. */
export const rowsOf = (messages: readonly Pick<FlightMessage, 'batch'>[]): number =>
  messages.reduce((rows, { batch }) => rows + (batch?.numRows ?? 0), 0);

/** The error something ends with; fails when it does not, or with anything but a WarehouseError. */
export const failureOf = async (work: Promise<unknown>): Promise<WarehouseError> => {
  const thrown: unknown = await work.then(
    () => null,
    (error: unknown) => error,
  );
  if (thrown instanceof WarehouseError) return thrown;
  throw thrown ?? new Error('it did not fail');
};

/** Everything that can be seen of an error. */
export const visible = (error: WarehouseError): string =>
  [
    error.message,
    error.stack,
    JSON.stringify(error.detail),
    String(error.cause),
    JSON.stringify(error.cause),
  ].join('\n');

/** Resolves once `condition` holds; checks at every turn of the event loop, and gives up with the test's time-out. */
export const until = async (condition: () => boolean): Promise<void> => {
  while (!condition()) {
    await new Promise<void>((resolve) => {
      setTimeout(resolve, 5);
    });
  }
};
