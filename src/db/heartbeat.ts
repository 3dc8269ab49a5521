/** Whether a connection still answers: a dead network says nothing by itself for minutes. */
import type { Client } from './query.ts';

/** Asks the server for a sign of life; false when none comes within the limit, or the connection has broken. */
export const answers = async (client: Client, limitMs: number): Promise<boolean> => {
  const late = Promise.withResolvers<boolean>();
  const timer = setTimeout(() => late.resolve(false), limitMs);
  try {
    return await Promise.race([
      client.query('select 1').then(
        () => true,
        () => false,
      ),
      late.promise,
    ]);
  } finally {
    clearTimeout(timer);
  }
};
