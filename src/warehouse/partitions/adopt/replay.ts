/** Replay between a plain table and weeks: week by week with literal bounds, because a statement without them plans every partition. */
import { literal } from '../../../db/quote.ts';
import type { CopySpec } from '../consolidate/copy-spec.ts';
import { replayStatements } from '../consolidate/replay.ts';
import { weekOfRow } from './weeks.ts';

/** From so many weeks on a single statement over all of them is cheaper. */
const WEEKS_APART_MAX = 12;

/**
 * One round. All keys are deleted before any is inserted again: a row that went to another week is in the log under both, and
 * a key of the plain table must not meet itself.
 */
export const replayByWeek = (spec: CopySpec, time: string, truncates: boolean): readonly string[] => {
  const all = replayStatements(spec, false);
  const [remove = '', insert = '', empty = ''] = all;
  const emptied = truncates ? replayStatements(spec, true).slice(0, 1) : [];
  const { log } = spec;
  const within = (statement: string): string =>
    `execute ${literal(`${statement} ${statement.startsWith('delete') ? 'and' : 'where'} t.${time} >= `)} || quote_literal(week) || ${literal(` and t.${time} < `)} || quote_literal(week + interval '168 hours');`;
  return [
    ...emptied,
    `do $replay$
#variable_conflict use_column
declare
  week  timestamptz;
  weeks timestamptz[] := (select array_agg(distinct ${weekOfRow(`l.${time}`)}) from ${log} l where l.${time} is not null);
begin
  if cardinality(weeks) > ${WEEKS_APART_MAX} then
    ${remove};
    ${insert};
    return;
  end if;
  foreach week in array coalesce(weeks, '{}') loop
    ${within(remove)}
  end loop;
  foreach week in array coalesce(weeks, '{}') loop
    ${within(insert)}
  end loop;
end $replay$`,
    empty,
  ];
};
