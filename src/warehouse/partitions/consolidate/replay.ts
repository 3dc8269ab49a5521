/** Replay: what the key log names is deleted in the target and inserted again as the source has it. */
import { withTransaction } from '../../../db/pool.ts';
import type { Pool } from '../../../db/query.ts';
import { WarehouseError } from '../../../runtime/errors.ts';
import type { CopySpec } from './copy-spec.ts';

/** Log rows that may be left to the replay under the swap's lock. */
const BACKLOG_MAX = 200;
/** Rounds before we say that the writers are faster than we are. */
const ROUNDS_MAX = 200;

/**
 * One round; all of it at one snapshot, or under a lock that keeps writers out. A row of the log without a key is a
 * TRUNCATE: the target is emptied, and what was written since is in the log behind it.
 */
export const replayStatements = (spec: CopySpec, truncates: boolean): readonly string[] => {
  const { source, target, keys, columns, log } = spec;
  const touched = `(select distinct ${keys.join(', ')} from ${log}) k`;
  const sameKey = keys.map((key) => `t.${key} = k.${key}`).join(' and ');
  const list = columns.join(', ');
  return [
    ...(truncates
      ? [`delete from ${target} where exists (select from ${log} where ${keys[0]} is null)`]
      : []),
    `delete from ${target} t using ${touched} where ${sameKey}`,
    `insert into ${target} (${list}) overriding system value select ${columns.map((column) => `t.${column}`).join(', ')} from ${touched} join ${source} t on ${sameKey}`,
    `delete from ${log}`,
  ];
};

/** Log rows that may be replayed under the swap's lock at most: a few tens of milliseconds. */
const LOCKED_BACKLOG_MAX = 2_000;

/** Lets the swap give up, to be tried again behind another round, when much was written while it waited for its locks. */
export const refuseBacklog = ({ log }: Pick<CopySpec, 'log'>): string =>
  `do $$ begin
  if (select count(*) from (select from ${log} limit ${LOCKED_BACKLOG_MAX + 1}) backlog) > ${LOCKED_BACKLOG_MAX} then
    raise exception 'too much is left to be replayed' using errcode = 'lock_not_available';
  end if;
end $$`;

/** Settings of a session that copies or replays; a look-up per key, whatever the planner thinks of a log without statistics. */
export const REPLAY_SETTINGS: readonly string[] = [
  'set local row_security = off',
  'set local jit = off',
  "set local strata.replaying = 'on'",
  'set local enable_hashjoin = off',
  'set local enable_mergejoin = off',
];

/** Runs one round; returns the log rows it took. */
const replayRound = (pool: Pool, statements: readonly string[]): Promise<number> =>
  withTransaction(
    pool,
    async (client) => {
      for (const setting of REPLAY_SETTINGS) await client.query(setting);
      let taken = 0;
      for (const statement of statements) taken = (await client.query(statement)).rowCount ?? 0;
      return taken;
    },
    { isolation: 'repeatable read' },
  );

/**
 * Replays until hardly anything is left. Under load there always is something: the rest is for the swap.
 *
 * @returns log rows taken
 * @throws WarehouseError `conflict` when writers are faster for ever
 */
export const replayAll = async (
  pool: Pool,
  statements: readonly string[],
  signal: AbortSignal,
): Promise<number> => {
  let total = 0;
  for (let round = 0; round < ROUNDS_MAX; round++) {
    signal.throwIfAborted();
    const taken = await replayRound(pool, statements);
    total += taken;
    if (taken <= BACKLOG_MAX) return total;
  }
  throw new WarehouseError('conflict', `after ${ROUNDS_MAX} rounds of replay writers are still ahead`, {
    remedy: 'Consolidate this week when less is written to it.',
  });
};
