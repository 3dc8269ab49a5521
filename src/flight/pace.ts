/** A client that asks a server no faster than the server can bear. */
import { WarehouseError } from '../runtime/errors.ts';
import type { Answer, Clock, Rate } from '../runtime/resilience.ts';
import type { FlightClient, FlightMessage, QueryOptions } from './client.ts';

/** Statuses that speak of our pace. */
const ANSWERS: Readonly<Record<string, Answer>> = {
  RESOURCE_EXHAUSTED: 'throttled',
  DEADLINE_EXCEEDED: 'late',
};

async function* pacedQuery(
  client: FlightClient,
  rate: Rate,
  { sleep }: Pick<Clock, 'sleep'>,
  [sql, options]: [sql: string, options: QueryOptions | undefined],
): AsyncGenerator<FlightMessage, void, undefined> {
  const delay_ms = rate.delay_ms();
  if (delay_ms > 0) await sleep(delay_ms, options?.signal);
  let answered = false;
  try {
    for await (const message of client.query(sql, options)) {
      if (!answered) rate.note('answered');
      answered = true;
      yield message;
    }
  } catch (error) {
    const answer = error instanceof WarehouseError ? ANSWERS[error.detail.grpcStatus ?? ''] : undefined;
    if (answer !== undefined) rate.note(answer);
    throw error;
  }
}

/** The same client, whose queries wait as long as `rate` says, and tell it how they were answered. */
export const paceClient = (client: FlightClient, rate: Rate, clock: Pick<Clock, 'sleep'>): FlightClient => ({
  server: client.server,
  close: client.close,
  query: (sql, options) => pacedQuery(client, rate, clock, [sql, options]),
});
