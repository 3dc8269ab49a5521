/** Waits for transactions whose snapshot is older than a copy: to them its rows do not exist yet, and a swap would show them a gap. */
import { setTimeout as delay } from 'node:timers/promises';
import { sql, type RawBuilder } from 'kysely';
import { on, type Pool } from '../../../db/query.ts';
import { WarehouseError } from '../../../runtime/errors.ts';
import type { ConsolidationWeek } from './week.ts';

const POLL_MS = 50;

/** A transaction that would not see the copy. */
interface OldSnapshot {
  readonly pid: number;
  readonly application: string;
  readonly since: string;
}

/**
 * Returns when nobody holds a snapshot from before the journal says that the rows were copied. Only a REPEATABLE READ
 * transaction or an open cursor keeps one between statements, but which one does is not to be seen from outside.
 *
 * @throws WarehouseError `conflict` naming the oldest, when the wait is over
 */
export const waitForSnapshots = (
  pool: Pool,
  { set, start }: ConsolidationWeek,
  limit_ms: number,
  signal: AbortSignal,
): Promise<void> =>
  waitForOlder(
    pool,
    sql`select (c.detail ->> 'copied_at')::timestamptz from strata.consolidations c
         where c.set_name = ${set} and c.lower_bound = ${start} and c.finished_at is null`,
    limit_ms,
    signal,
  );

/** The same for any copy; `copiedAt` is the query that says when its rows were there. */
export const waitForOlder = async (
  pool: Pool,
  copiedAt: RawBuilder<unknown>,
  limit_ms: number,
  signal: AbortSignal,
): Promise<void> => {
  const deadline = performance.now() + limit_ms;
  for (;;) {
    signal.throwIfAborted();
    const { rows } = await sql<OldSnapshot>`
      select a.pid, a.application_name as application, date_trunc('second', a.xact_start)::text as since
        from pg_stat_activity a
       where a.datname = current_database() and a.backend_type = 'client backend' and a.backend_xmin is not null
         and a.xact_start < (${copiedAt}) and a.pid <> pg_backend_pid()
       order by a.xact_start limit 1`.execute(on(pool));
    const [oldest] = rows;
    if (oldest === undefined) return;
    if (performance.now() > deadline) {
      throw new WarehouseError(
        'conflict',
        `pid ${oldest.pid} (${oldest.application}) has held a snapshot since ${oldest.since}: it would not see the copied rows after the swap`,
        { remedy: 'Wait for that transaction or end it; everything is as it was.' },
      );
    }
    await delay(POLL_MS, undefined, { signal });
  }
};
