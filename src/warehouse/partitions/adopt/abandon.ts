/**
 * Gives an adoption up before its exchange: whatever it has made goes, and the table is as it was.
 *
 * Triggers can be dropped only under a lock that waits for the table's readers. So that a long query cannot keep the log growing,
 * the capture is first made to do nothing, which needs no lock on the table.
 */
import { withTransaction } from '../../../db/pool.ts';
import type { Pool } from '../../../db/query.ts';
import { runLocked, type Patience } from '../consolidate/ladder.ts';
import type { Adoption } from './adoption.ts';
import { noteFailure, stepOf } from './journal.ts';
import { dropTriggers, dropWhatIsMade, silenceCapture } from './statements.ts';

/**
 * Cleans up and closes the journal row. Can be broken off and called again.
 *
 * @param error why, for the journal
 * @throws WarehouseError `conflict` when the triggers could not be dropped: they do nothing, and the journal row stays open
 */
export const abandon = async (
  pool: Pool,
  adoption: Adoption,
  error: string,
  patience?: Patience,
): Promise<void> => {
  if ((await stepOf(pool, adoption.set)) === null) return;
  const { rows } = await pool.query<{ captured: boolean; logged: boolean }>(
    `select exists (select from pg_trigger g where g.tgfoid = to_regproc($1)) as captured, to_regclass($1) is not null as logged`,
    [adoption.forward.log],
  );
  const { captured = false, logged = false } = rows[0] ?? {};
  // Cleaning up is no part of what the caller may have stopped.
  const options = {
    signal: new AbortController().signal,
    table: adoption.source,
    ...(patience !== undefined && { patience }),
  };
  await noteFailure(pool, adoption.set, error);
  if (captured && logged) await runLocked(pool, adoption.set, silenceCapture(adoption), options);
  if (captured) await runLocked(pool, adoption.set, dropTriggers(adoption), options);
  await withTransaction(pool, async (client) => {
    for (const statement of dropWhatIsMade(adoption)) await client.query(statement);
  });
  await noteFailure(pool, adoption.set, error, 'failed');
};
