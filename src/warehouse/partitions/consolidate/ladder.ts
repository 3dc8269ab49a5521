/**
 * Strong locks without standing in anybody's way: short waits, given up early and tried again.
 *
 * While we wait for a lock, everybody who comes later waits behind us. So each wait is shorter than `deadlock_timeout` (in a
 * ring of waiters we are the one who lets go, never a user's transaction) and is followed by a pause for those who queued.
 */
import { queryUntil } from '../../../db/cancel.ts';
import { withClient } from '../../../db/pool.ts';
import type { Client, Pool } from '../../../db/query.ts';
import { messageOf, WarehouseError } from '../../../runtime/errors.ts';
import { DEADLOCK, isLocked, LOCK_TIMEOUT, whileLocked, type Attempts } from '../while-locked.ts';
import { takeGate } from './statements.ts';

/** How patient to be. */
export interface Patience extends Attempts {
  /** Longest wait for table locks in one attempt, milliseconds, attempt by attempt; the last one repeats. */
  readonly lockWaits_ms: readonly number[];
  /** Longest wait for loads that are under way, milliseconds. */
  readonly gate_ms: number;
  /** Longest wait for transactions whose snapshot is older than the copy, milliseconds. */
  readonly snapshots_ms: number;
}

export const PATIENCE: Patience = {
  lockWaits_ms: [20, 40, 60, 80],
  attempts: 100,
  pause_ms: 300,
  gate_ms: 60_000,
  snapshots_ms: 60_000,
};

/** No single statement under the locks may take longer: better to let go and to try again. */
const STATEMENT_LIMIT_MS = 5_000;

/** Beside a lock that is missing: serialization failure, a statement that took longer than we allow. */
const TRY_AGAIN = new Set([LOCK_TIMEOUT, DEADLOCK, '40001', '57014']);

/**
 * Runs statements in one transaction that takes strong locks in its first statement, behind the set's gate. They travel
 * together, so that no round trip is spent under the locks.
 *
 * @param between called before each further attempt
 * @returns attempts made
 * @throws WarehouseError `conflict` naming who holds the locks, when patience is over
 */
export const runLocked = async (
  pool: Pool,
  set: string,
  statements: readonly string[],
  options: {
    readonly signal: AbortSignal;
    readonly settings?: readonly string[];
    readonly patience?: Patience;
    readonly between?: () => Promise<unknown>;
    /** A table beside those of the set that is locked. */
    readonly table?: string;
  },
): Promise<number> => {
  const { signal, settings = [], patience = PATIENCE, between, table } = options;
  const [lock = '', ...rest] = statements;
  let made = 0;
  const attempt = async (number: number): Promise<number> => {
    signal.throwIfAborted();
    made = number;
    const wait_ms = patience.lockWaits_ms[Math.min(number, patience.lockWaits_ms.length) - 1] ?? 0;
    const text = [
      'begin',
      `set local lock_timeout = '${patience.gate_ms}ms'`,
      takeGate(set),
      ...settings,
      `set local lock_timeout = '${wait_ms}ms'`,
      // A lock's time-out counts for each table anew; the statement's bounds all of them together.
      `set local statement_timeout = '${wait_ms}ms'`,
      lock,
      `set local statement_timeout = '${STATEMENT_LIMIT_MS}ms'`,
      ...rest,
      'commit',
    ].join(';\n');
    await withClient(pool, (client) => inOneGo(client, text, signal));
    return number;
  };
  try {
    return await whileLocked(patience, signal, attempt, {
      states: TRY_AGAIN,
      ...(between !== undefined && { between }),
    });
  } catch (thrown) {
    if (signal.aborted || made < patience.attempts || !isLocked(thrown, TRY_AGAIN)) throw thrown;
    throw await outOfPatience(pool, { set, table }, made, thrown);
  }
};

const inOneGo = async (client: Client, text: string, signal: AbortSignal): Promise<void> => {
  try {
    await queryUntil(client, text, signal);
  } catch (thrown) {
    await client.query('rollback').catch(() => undefined);
    throw thrown;
  }
};

const outOfPatience = async (
  pool: Pool,
  { set, table }: { readonly set: string; readonly table: string | undefined },
  attempts: number,
  cause: unknown,
): Promise<WarehouseError> => {
  const { rows } = await pool.query<{ pid: number; application: string; age: string }>(
    `select a.pid, a.application_name as application, date_trunc('second', clock_timestamp() - a.xact_start)::text as age
       from pg_locks l
       join pg_stat_activity a on a.pid = l.pid
      where l.granted and a.pid <> pg_backend_pid()
        and (l.relation = to_regclass($2)
          or l.relation in (select t.relid from strata.partition_sets s, pg_partition_tree(s.parent) t where s.set_name = $1))
      order by a.xact_start limit 1`,
    [set, table ?? null],
  );
  const [holder] = rows;
  const who =
    holder === undefined
      ? ''
      : `; the oldest transaction that uses it is of pid ${holder.pid} (${holder.application}), since ${holder.age}`;
  return new WarehouseError(
    'conflict',
    `${set} could not be locked in ${attempts} attempts: ${messageOf(cause)}${who}`,
    { remedy: 'Wait for that transaction or end it; everything is as it was.' },
    cause,
  );
};
