/** The journal of consolidations, strata.consolidations: where each one stands, so that a crash can be resumed or undone. */
import { sql } from 'kysely';
import { on, type Client, type Pool } from '../../../db/query.ts';
import { messageOf } from '../../../runtime/errors.ts';
import type { Proof } from './prove.ts';
import type { JournalStep } from './statements.ts';
import type { ConsolidationWeek, WeekPlace } from './week.ts';

/** A consolidation that is not finished: under way, broken off, or swapped with its old week still held. */
export interface OpenConsolidation extends WeekPlace {
  readonly id: number;
  readonly way: 'online' | 'transaction';
  readonly step: JournalStep;
  readonly name: string;
  readonly schema: string;
  /** The consolidated table under whatever name it has now; null when it is gone. */
  readonly stage: string | null;
  /** When its old week may be dropped; null when none is held. */
  readonly drop_after: Date | null;
}

/** All that are not finished, in time order. */
export const readOpen = async (
  database: Pool | Client,
  set: string,
): Promise<readonly OpenConsolidation[]> => {
  const { rows } = await sql<OpenConsolidation>`
    select c.consolidation_id as id, c.way, c.step, c.week as oid, c.week_name as name, c.lower_bound as lower, c.upper_bound as upper,
           coalesce(c.detail ->> 'schema', (select n.nspname from strata.partition_sets s join pg_class r on r.oid = s.parent
                                              join pg_namespace n on n.oid = r.relnamespace where s.set_name = c.set_name)) as schema,
           (select format('%I.%I', n.nspname, t.relname) from pg_class t join pg_namespace n on n.oid = t.relnamespace where t.oid = c.stage) as stage,
           (select h.drop_after from strata.held_partitions h
             where h.consolidation_id = c.consolidation_id and h.state = 'held' and h.reason = 'consolidated') as drop_after
      from strata.consolidations c
     where c.set_name = ${set} and c.finished_at is null
     order by c.lower_bound`.execute(on(database));
  return rows;
};

const openRow = (week: ConsolidationWeek): ReturnType<typeof sql> =>
  sql`set_name = ${week.set} and lower_bound = ${week.start} and finished_at is null`;

/** Where the week's open consolidation stands; null when it has none. */
export const stepOf = async (
  database: Pool | Client,
  week: ConsolidationWeek,
): Promise<JournalStep | null> => {
  const { rows } = await sql<{ step: JournalStep }>`
    select step from strata.consolidations where ${openRow(week)}`.execute(on(database));
  return rows[0]?.step ?? null;
};

/** Writes down that nothing of it is left, and why it failed. */
export const markFailed = async (
  database: Pool | Client,
  week: ConsolidationWeek,
  error: string,
): Promise<void> => {
  await sql`update strata.consolidations set step = 'failed', error = ${error}, finished_at = clock_timestamp(), updated_at = clock_timestamp()
     where ${openRow(week)}`.execute(on(database));
};

/** Writes down what went wrong while it stays as it is. */
export const noteError = async (
  database: Pool | Client,
  week: ConsolidationWeek,
  error: string,
): Promise<void> => {
  await sql`update strata.consolidations set error = ${error}, updated_at = clock_timestamp() where ${openRow(week)}`.execute(
    on(database),
  );
};

/** Keeps the proof; `step` moves on when there is one. */
export const keepProof = async (
  database: Pool | Client,
  week: ConsolidationWeek,
  name: 'forward' | 'backward',
  proof: Proof,
): Promise<void> => {
  const step = name === 'forward' ? 'verified' : 'undoing';
  await sql`update strata.consolidations
       set step = ${step}, row_count = ${proof.rows}, updated_at = clock_timestamp(),
           proof = coalesce(proof, '{}') || jsonb_build_object(${name}::text, ${JSON.stringify(proof)}::jsonb)
     where ${openRow(week)}`.execute(on(database));
};

/** What the journal says of a consolidation that was just swapped. */
export interface Swapped {
  readonly rows: number;
  readonly bytes_before: number;
  readonly bytes_after: number;
  readonly root_locked_ms: number;
}

/** Reads it. */
export const readSwapped = async (database: Pool | Client, week: ConsolidationWeek): Promise<Swapped> => {
  const { rows } = await sql<Swapped>`
    select row_count as rows, bytes_before, bytes_after, (detail ->> 'root_locked_ms')::float8 as root_locked_ms
      from strata.consolidations where ${openRow(week)}`.execute(on(database));
  return rows[0] ?? { rows: 0, bytes_before: 0, bytes_after: 0, root_locked_ms: 0 };
};

/**
 * Asks the estimator what share of its bytes the week will save. A prediction that fails is left out: it must not keep the
 * week from being consolidated.
 */
export const keepPrediction = async (database: Pool | Client, week: ConsolidationWeek): Promise<void> => {
  await sql`update strata.consolidations
       set predicted_saving = (select round(e.predicted_saving, 4) from strata.estimate_week_saving(${week.set}, ${week.forward.source}::regclass) e)
     where ${openRow(week)}`
    .execute(on(database))
    .catch((thrown: unknown) => noteError(database, week, `no prediction: ${messageOf(thrown)}`));
};
