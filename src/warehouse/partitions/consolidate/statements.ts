/** The statements of a consolidation, phase by phase: what plans show is what is run. */
import { identifier, literal } from '../../../db/quote.ts';
import { gateLock } from '../plan.ts';
import { captureObjects, captureTriggers, dropLog, endCapture, silence } from './capture.ts';
import { refuseBacklog, replayStatements } from './replay.ts';
import { HELD_SCHEMA, type ConsolidationWeek } from './week.ts';

/** Journal steps; each is written in the transaction, or right behind the statement, that it names. */
export type JournalStep =
  | 'planned'
  | 'capturing'
  | 'copying'
  | 'indexing'
  | 'freezing'
  | 'replaying'
  | 'verified'
  | 'swapped'
  | 'undoing'
  | 'undone'
  | 'dropped'
  | 'failed';

/** The open journal row of a week, as a condition. */
const ofWeek = ({ set, lower }: ConsolidationWeek, alias = ''): string =>
  `${alias}set_name = ${literal(set)} and ${alias}lower_bound = ${lower} and ${alias}finished_at is null`;

/** Brings the journal row up to date. */
export const mark = (week: ConsolidationWeek, step: JournalStep, more = ''): string =>
  `update strata.consolidations set step = '${step}', updated_at = clock_timestamp()${more} where ${ofWeek(week)}`;

/** Notes in the journal when the rows were there: whoever has an older snapshot does not see them. */
export const COPIED_AT = `, detail = detail || jsonb_build_object('copied_at', clock_timestamp())`;

/** Takes the gate of the set alone: loads that are under way end first, others wait. */
export const takeGate = (set: string): string =>
  `select pg_advisory_xact_lock(strata.advisory_key(${literal(gateLock(set))}))`;

const heldLeaves = ({ leafNames }: ConsolidationWeek): readonly string[] =>
  leafNames.map((leaf) => `${identifier(HELD_SCHEMA)}.${identifier(leaf)}`);

/** Whoever looked a table up before an exchange and writes after it would lose what is written. */
export const refuseWrites = (table: string): readonly string[] => [
  `create trigger strata_detached before insert or update or delete or truncate on ${table} for each statement execute function strata.refuse_detached()`,
  `alter table only ${table} enable always trigger strata_detached`,
];

/** The stage, everything that belongs to it but rows and indexes, both key logs, and the journal row: one transaction. */
export const stageStatements = (week: ConsolidationWeek): readonly string[] => {
  const { forward, stage, name, timeColumn, lower, upper } = week;
  const bounds = identifier(`${name}_bounds`);
  return [
    `insert into strata.consolidations (set_name, lower_bound, upper_bound, way, step, week, week_name, stage_name, heap_order, bytes_before, detail)
 select ${literal(week.set)}, ${lower}, ${upper}, 'online', 'planned', w.partition, w.partition_name, ${literal(week.stageName)}, ${literal(week.heapOrder)}, w.total_bytes, jsonb_build_object('schema', ${literal(week.schema)})
   from strata.week_info(${literal(week.set)}) w where w.lower_bound = ${lower}`,
    `select strata.create_stage(${literal(forward.source)}, ${literal(stage)})`,
    `alter table ${stage} drop constraint if exists ${bounds}`,
    `alter table ${stage} add constraint ${bounds} check (${timeColumn} >= ${lower} and ${timeColumn} < ${upper})`,
    ...refuseWrites(stage),
    `select strata.copy_properties(${literal(forward.source)}, ${literal(stage)})`,
    `alter table ${stage} set (autovacuum_enabled = off)`,
    ...captureObjects(forward, 'refuse'),
    ...captureObjects(week.backward, 'mark'),
    mark(week, 'planned', `, stage = ${literal(stage)}::regclass`),
  ];
};

/** The triggers on the week. Their lock waits for writers that are under way, so that the log misses none. */
export const captureStatements = (week: ConsolidationWeek): readonly string[] => [
  `lock table ${onlyTables(week)} in share row exclusive mode`,
  ...captureTriggers(week.forward),
  mark(week, 'capturing'),
];

/** The week before its leaves, as whoever comes through the root locks them. */
const onlyTables = ({ forward }: ConsolidationWeek): string =>
  [forward.source, ...forward.parts].map((table) => `only ${table}`).join(', ');

/** When the locks of an exchange were had, and how long they are held by now, milliseconds. */
export const LOCKED_AT = `select set_config('strata.locked_at', clock_timestamp()::text, true)`;
export const LOCKED_MS = `round(1000 * extract(epoch from clock_timestamp() - current_setting('strata.locked_at')::timestamptz), 1)`;

/** The exchange. The root is locked first, as every writer does it, and nothing in here depends on how many rows there are. */
export const swapStatements = (week: ConsolidationWeek): readonly string[] => {
  const { root, forward, backward, stage, name, leafNames, lower, upper, autovacuum } = week;
  return [
    `lock table only ${root}, ${onlyTables(week)} in access exclusive mode`,
    LOCKED_AT,
    refuseBacklog(forward),
    ...replayStatements(forward, false),
    ...endCapture(forward),
    ...dropLog(forward),
    `drop trigger strata_detached on ${stage}`,
    `select strata.hand_over(${literal(forward.source)}, ${literal(stage)})`,
    `alter table ${root} detach partition ${forward.source}`,
    ...[name, ...leafNames].map(
      (table) =>
        `alter table ${identifier(week.schema)}.${identifier(table)} set schema ${identifier(HELD_SCHEMA)}`,
    ),
    ...[backward.target, ...heldLeaves(week)].flatMap(refuseWrites),
    autovacuum === null
      ? `alter table ${stage} reset (autovacuum_enabled)`
      : `alter table ${stage} set (autovacuum_enabled = ${literal(autovacuum)})`,
    `alter table ${root} attach partition ${stage} for values from (${lower}) to (${upper})`,
    ...captureTriggers(backward),
    `insert into strata.held_partitions (set_name, lower_bound, upper_bound, reason, partition, partition_name, bytes, row_count, consolidation_id, detail, drop_after)
 select c.set_name, c.lower_bound, c.upper_bound, 'consolidated', c.week, c.week_name, c.bytes_before, c.row_count, c.consolidation_id, c.detail, clock_timestamp() + interval ${literal(week.hold)}
   from strata.consolidations c where ${ofWeek(week, 'c.')}`,
    mark(
      week,
      'swapped',
      `, swapped_at = clock_timestamp(), bytes_after = pg_total_relation_size(${literal(stage)}::regclass), actual_saving = round(1 - pg_total_relation_size(${literal(stage)}::regclass) / nullif(bytes_before, 0)::numeric, 4), detail = detail || jsonb_build_object('root_locked_ms', ${LOCKED_MS})`,
    ),
  ];
};

/** The exchange back. */
export const swapBackStatements = (week: ConsolidationWeek): readonly string[] => {
  const { root, forward, backward, stage, name, leafNames, lower, upper, schema } = week;
  return [
    `lock table only ${root}, only ${stage} in access exclusive mode`,
    LOCKED_AT,
    refuseBacklog(backward),
    ...replayStatements(backward, true),
    ...endCapture(backward),
    ...dropLog(backward),
    ...[backward.target, ...heldLeaves(week)].map((table) => `drop trigger strata_detached on ${table}`),
    `select strata.hand_over(${literal(stage)}, ${literal(backward.target)})`,
    `alter table ${root} detach partition ${stage}`,
    ...[name, ...leafNames].map(
      (table) =>
        `alter table ${identifier(HELD_SCHEMA)}.${identifier(table)} set schema ${identifier(schema)}`,
    ),
    ...refuseWrites(stage),
    `alter table ${stage} set schema ${identifier(HELD_SCHEMA)}`,
    `alter table ${root} attach partition ${forward.source} for values from (${lower}) to (${upper})`,
    `update strata.held_partitions h set state = 'reattached', finished_at = clock_timestamp()
  from strata.consolidations c where ${ofWeek(week, 'c.')} and h.consolidation_id = c.consolidation_id and h.finished_at is null`,
    `insert into strata.held_partitions (set_name, lower_bound, upper_bound, reason, partition, partition_name, bytes, row_count, consolidation_id, detail, drop_after)
 select c.set_name, c.lower_bound, c.upper_bound, 'undone', c.stage, c.stage_name, c.bytes_after, c.row_count, c.consolidation_id, c.detail, clock_timestamp()
   from strata.consolidations c where ${ofWeek(week, 'c.')}`,
    mark(
      week,
      'undone',
      `, finished_at = clock_timestamp(), detail = detail || jsonb_build_object('root_locked_back_ms', ${LOCKED_MS})`,
    ),
  ];
};

/** Takes away what a consolidation has made, while no trigger uses it. */
export const dropWhatIsMade = ({ forward, backward, stage }: ConsolidationWeek): readonly string[] => [
  ...dropLog(forward),
  ...dropLog(backward),
  `drop table if exists ${stage}`,
];

/** Makes the capture do nothing, and drops all that it is good for; the first waits for writers that are logging. */
export const silenceCapture = (week: ConsolidationWeek): readonly string[] => [
  `lock table ${week.forward.log} in access exclusive mode`,
  silence(week.forward),
  `drop table ${week.forward.log}`,
  ...dropLog(week.backward),
  `drop table if exists ${week.stage}`,
  mark(week, 'capturing'),
];

/** Drops the triggers, under a lock that waits for readers of the week, too. */
export const dropTriggers = (week: ConsolidationWeek): readonly string[] => [
  `lock table ${onlyTables(week)} in access exclusive mode`,
  ...endCapture(week.forward),
  ...dropWhatIsMade(week),
];

/** Drops a consolidated table that was exchanged back. */
export const dropUndone = ({ set, lower, stageName }: ConsolidationWeek): readonly string[] => [
  `drop table ${identifier(HELD_SCHEMA)}.${identifier(stageName)}`,
  `update strata.held_partitions set state = 'dropped', finished_at = clock_timestamp()
 where set_name = ${literal(set)} and lower_bound = ${lower} and reason = 'undone' and finished_at is null`,
];

/** Drops an old week that was held, and with it what kept it undoable. */
export const dropHeldStatements = (
  week: ConsolidationWeek,
  /** The consolidated table under whatever name it has now; null when it is gone. */
  stage: string | null,
): readonly string[] => [
  ...(stage === null ? [] : endCapture({ source: stage, parts: [stage] })),
  ...dropLog(week.backward),
  `drop table ${week.backward.target}`,
  `update strata.held_partitions h set state = 'dropped', finished_at = clock_timestamp()
  from strata.consolidations c where ${ofWeek(week, 'c.')} and h.consolidation_id = c.consolidation_id and h.finished_at is null`,
  mark(week, 'dropped', ', finished_at = clock_timestamp()'),
];
