/** The journal of maintenance, strata.maintenance_runs: what ran, what came of it, what is due. */
import { sql } from 'kysely';
import { on, type Client, type Pool } from '../../db/query.ts';
import type { Plan } from './plan.ts';

/** How a run ended; refused: reality was not what the plan was made for, or somebody else maintains the set. */
export type RunOutcome = 'done' | 'nothing' | 'refused' | 'failed' | 'stopped';

/** Who asked for a run. */
export type AskedBy = 'command' | 'schedule' | 'library';

/** What is known of a run when it begins. */
export interface RunStart {
  readonly set: string;
  readonly verb: string;
  readonly askedBy: AskedBy;
  readonly host: string;
  /** `due`: the due time that a scheduled run serves; `narrowed`: only some weeks were asked for, so it serves none. */
  readonly detail: { readonly due?: string; readonly narrowed?: true };
}

/** What is known when it has ended. */
export interface RunEnd {
  readonly outcome: RunOutcome;
  readonly error: string | null;
  /** Joined to the detail that is there. */
  readonly detail: object;
}

/**
 * Opens a run on the connection that stays open as long as it lasts: when that has gone, so has whoever ran it. Runs of the set
 * that are older than its `keep_runs` go.
 */
export const openRun = async (client: Client, start: RunStart): Promise<number> => {
  await sql`select strata.prune_runs(${start.set})`.execute(on(client));
  const { run_id } = await on(client)
    .insertInto('maintenance_runs')
    .values({
      set_name: start.set,
      verb: start.verb,
      asked_by: start.askedBy,
      host: start.host,
      detail: JSON.stringify(start.detail),
    })
    .returning('run_id')
    .executeTakeFirstOrThrow();
  return run_id;
};

/** Writes a run's plan into the journal. */
export const notePlan = async (pool: Pool, runId: number, plan: Plan): Promise<void> => {
  await on(pool)
    .updateTable('maintenance_runs')
    .set({ plan: JSON.stringify(plan) })
    .where('run_id', '=', runId)
    .execute();
};

/** Ends a run. */
export const finishRun = async (pool: Pool, runId: number, end: RunEnd): Promise<void> => {
  await sql`
    update strata.maintenance_runs
       set outcome = ${end.outcome}, error = ${end.error}, detail = detail || ${JSON.stringify(end.detail)}::jsonb,
           finished_at = clock_timestamp()
     where run_id = ${runId}`.execute(on(pool));
};

/** Ends the runs whose process has gone without a word: their session is no more. @returns how many */
export const closeVanished = async (pool: Pool): Promise<number> => {
  const { numAffectedRows } = await sql`
    update strata.maintenance_runs r
       set outcome = 'failed', error = 'its process or its connection ended before it did',
           detail = r.detail || '{"vanished": true}', finished_at = clock_timestamp()
     where r.outcome = 'running'
       and not exists (select from pg_stat_activity a
                        where a.pid = r.backend_pid and coalesce(a.backend_start <= r.started_at, true))`.execute(
    on(pool),
  );
  return Number(numAffectedRows ?? 0n);
};

/** The last ended run of a set and verb, where it did not end well. */
export interface MaintenanceFailure {
  readonly run_id: number;
  readonly set: string;
  readonly verb: string;
  readonly outcome: 'failed' | 'refused';
  readonly error: string | null;
  readonly remedy: string | null;
  readonly finished_at: Date;
}

/**
 * What ought to be looked at: sets and verbs whose last ended run failed or was refused. A run that ends well takes its
 * predecessor off the list; one that was stopped says nothing either way.
 */
export const lastFailures = async (pool: Pool): Promise<readonly MaintenanceFailure[]> => {
  const { rows } = await sql<MaintenanceFailure>`
    select * from (
      select distinct on (r.set_name, r.verb) r.run_id, r.set_name as "set", r.verb, r.outcome, r.error,
             r.detail ->> 'remedy' as remedy, r.finished_at
        from strata.maintenance_runs r
       where r.outcome in ('done', 'nothing', 'refused', 'failed')
         and exists (select from strata.partition_sets s where s.set_name = r.set_name)
       order by r.set_name, r.verb, r.started_at desc, r.run_id desc) last
     where outcome in ('failed', 'refused')
     order by "set", verb`.execute(on(pool));
  return rows;
};

/** A set for which a verb's due time has not been served. */
export interface DueSet {
  readonly set: string;
  /** Runs that were refused or vanished since the due time. */
  readonly attempts: number;
}

/**
 * Sets for which no run of the verb has ended since `due`, and none is running. A set that was made after `due` waits for the
 * next one, unless `atOnce`. Runs of only some weeks do not count; a failed one does: it is for people to look at.
 */
export const dueSets = async (
  pool: Pool,
  verb: string,
  due: Date,
  atOnce: boolean,
): Promise<readonly DueSet[]> => {
  const { rows } = await sql<DueSet>`
    select s.set_name as "set", count(*) filter (where r.outcome <> 'stopped')::int as attempts
      from strata.partition_sets s
      left join strata.maintenance_runs r on r.set_name = s.set_name and r.verb = ${verb} and not r.detail ? 'narrowed'
        and coalesce((r.detail ->> 'due')::timestamptz, r.started_at) >= ${due.toISOString()}::timestamptz
     where ${atOnce} or s.created_at <= ${due.toISOString()}::timestamptz
     group by s.set_name
    having count(*) filter (where r.outcome in ('running', 'done', 'nothing')
                              or (r.outcome = 'failed' and not r.detail ? 'vanished')) = 0
     order by s.set_name`.execute(on(pool));
  return rows;
};

/** The newest run of a set and verb. */
export interface LastRun {
  readonly set: string;
  readonly verb: string;
  readonly outcome: RunOutcome | 'running';
  readonly started_at: Date;
}

/** The newest run of each set and verb. */
export const lastRuns = async (pool: Pool): Promise<readonly LastRun[]> => {
  const { rows } = await sql<LastRun>`
    select distinct on (r.set_name, r.verb) r.set_name as "set", r.verb, r.outcome, r.started_at
      from strata.maintenance_runs r order by r.set_name, r.verb, r.started_at desc, r.run_id desc`.execute(
    on(pool),
  );
  return rows;
};

/** The names of the managed sets. */
export const readSetNames = async (pool: Pool): Promise<readonly string[]> => {
  const rows = await on(pool).selectFrom('partition_sets').select('set_name').orderBy('set_name').execute();
  return rows.map((row) => row.set_name);
};

/** Gives sets that have no consolidate_after one, except those that are never to be consolidated. @returns the sets it gave one */
export const fillConsolidateAfter = async (
  pool: Pool,
  months: number,
  never: readonly string[],
): Promise<readonly string[]> => {
  const { rows } = await sql<{ set_name: string }>`
    update strata.partition_sets set consolidate_after = make_interval(months => ${months}::int)
     where consolidate_after is null and set_name <> all (${never}::text[]) returning set_name`.execute(
    on(pool),
  );
  return rows.map((row) => row.set_name).toSorted();
};
