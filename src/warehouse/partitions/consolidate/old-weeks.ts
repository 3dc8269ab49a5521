/** Consolidating all weeks of some age under their writers, week by week with an answer for each: what the library's manager does. */
import { hostname } from 'node:os';
import { sql } from 'kysely';
import { withClient } from '../../../db/pool.ts';
import { on, type Pool } from '../../../db/query.ts';
import { messageOf, WarehouseError } from '../../../runtime/errors.ts';
import { closeVanished, finishRun, notePlan, openRun } from '../runs.ts';
import { applyConsolidate, type ConsolidatedWeek } from './apply.ts';
import { planConsolidate } from './plan.ts';
import { recoverConsolidations } from './recover.ts';
import { HELD_SCHEMA } from './week.ts';

/** What became of a week, or would. */
export interface ConsolidationResult {
  readonly week_key: string;
  readonly status: 'CONSOLIDATED' | 'FAILED' | 'SKIPPED' | 'DRY RUN' | 'REFUSED';
  readonly row_count: number | null;
  readonly bytes_before: number | null;
  readonly bytes_after: number | null;
  /** Share of `bytes_before` that was saved, or by the estimate would be, 0 to 1; as text, exact. */
  readonly saving: string | null;
  readonly message: string;
}

interface OldWeek extends ConsolidationResult {
  readonly start: Date | null;
}

/** What would be done to the weeks that ended at least `months` ago, with what forbids doing it under writers. */
const readOldWeeks = async (pool: Pool, set: string, months: number): Promise<readonly OldWeek[]> => {
  const { rows } = await sql<OldWeek>`
    select d.week_key, case when d.status = 'DRY RUN' and o.obstacle is not null then 'REFUSED' else d.status end as status,
           d.row_count, d.bytes_before, d.bytes_after, d.saving, coalesce(o.obstacle, d.message) as message, w.lower_bound as start
      from strata.consolidate_old_weeks(${set}, ${months}, true) d
      left join strata.week_info(${set}) w on w.kind in ('hash', 'list') and strata.week_key(w.lower_bound) = d.week_key
      left join lateral (select c.obstacle || '. ' || c.remedy as obstacle
                           from strata.consolidation_obstacles(${set}, w.partition) c limit 1) o on d.status in ('DRY RUN', 'REFUSED')
     order by w.lower_bound nulls last`.execute(on(pool));
  return rows;
};

/** Says what `consolidateOldWeeks` would do, and how much each week would save; changes nothing. */
export const previewOldWeeks = async (
  pool: Pool,
  set: string,
  months: number,
): Promise<readonly ConsolidationResult[]> => (await readOldWeeks(pool, set, months)).map(answerOf);

/**
 * Consolidates the weeks that ended at least `months` ago on-line, as `pgstrata maintain consolidate` does; ends first what a
 * crash broke off. One that fails is reported as FAILED and the others go on. The run is in the journal.
 *
 * @throws WarehouseError `conflict` when somebody else maintains the set; `config` when there is no such set
 */
export const consolidateOldWeeks = async (
  pool: Pool,
  set: string,
  months: number,
): Promise<readonly ConsolidationResult[]> => {
  await closeVanished(pool);
  // The session of the journal's row lives as long as the run: whether it is there tells the next one whether we are.
  return withClient(pool, async (client) => {
    const detail = { narrowed: true } as const;
    const run = await openRun(client, {
      set,
      verb: 'consolidate',
      askedBy: 'library',
      host: hostname(),
      detail,
    });
    try {
      await recoverConsolidations(pool, set);
      const weeks = await readOldWeeks(pool, set, months);
      const due = weeks.flatMap(({ status, start }) => (status === 'DRY RUN' && start !== null ? start : []));
      const plan = await planConsolidate(pool, set, { now: new Date(), weeks: due });
      await notePlan(pool, run, plan);
      const result = await applyConsolidate(pool, plan);
      const answers = weeks.map((week) => outcomeOf(week, result.weeks));
      const failed = answers.filter(({ status }) => status === 'FAILED');
      await finishRun(pool, run, {
        outcome: failed.length > 0 ? 'failed' : due.length === 0 ? 'nothing' : 'done',
        error: failed.map(({ week_key, message }) => `${week_key}: ${message}`).join('; ') || null,
        detail: { result },
      });
      return answers;
    } catch (thrown) {
      const refused = thrown instanceof WarehouseError && thrown.kind === 'conflict';
      await finishRun(pool, run, {
        outcome: refused ? 'refused' : 'failed',
        error: messageOf(thrown),
        detail: {},
      });
      throw thrown;
    }
  });
};

const answerOf = ({ start: _start, ...answer }: OldWeek): ConsolidationResult => answer;

/** A week's answer, with what came of it in place of what would have. */
const outcomeOf = (week: OldWeek, done: readonly ConsolidatedWeek[]): ConsolidationResult => {
  const answer = answerOf(week);
  if (week.status === 'SKIPPED') return answer;
  const failed = { ...answer, status: 'FAILED', bytes_after: null, saving: null } as const;
  if (week.status === 'REFUSED') return failed;
  const found = done.find((one) => one.week === week.start?.toISOString());
  if (found?.outcome !== 'consolidated')
    return { ...failed, message: found?.error ?? 'it has changed since: look again' };
  const { name, rows, bytes_before, bytes_after } = found;
  return {
    ...answer,
    status: 'CONSOLIDATED',
    row_count: rows,
    bytes_before,
    bytes_after,
    saving:
      bytes_before === null || bytes_after === null ? null : (1 - bytes_after / bytes_before).toFixed(4),
    message: `${rows} rows in ${name}_consolidated; the old week is held as ${HELD_SCHEMA}.${name}`,
  };
};
