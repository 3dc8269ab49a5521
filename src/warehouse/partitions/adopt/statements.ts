/** The statements of an adoption, phase by phase: what plans show is what is run. */
import { identifier, literal } from '../../../db/quote.ts';
import { captureObjects, captureTriggers, dropLog, endCapture, silence } from '../consolidate/capture.ts';
import { copyStatements } from '../consolidate/copy.ts';
import { refuseBacklog } from '../consolidate/replay.ts';
import { LOCKED_AT, LOCKED_MS, refuseWrites } from '../consolidate/statements.ts';
import { HELD_SCHEMA } from '../consolidate/week.ts';
import type { Adoption, AdoptedSequence, Dependent } from './adoption.ts';
import { replayByWeek } from './replay.ts';
import { refuseMissingWeeks, register, weekOfRow } from './weeks.ts';

/** Journal steps; each is written in the transaction, or right behind the statement, that it names. */
export type JournalStep =
  | 'planned'
  | 'capturing'
  | 'copying'
  | 'indexing'
  | 'arming'
  | 'replaying'
  | 'verified'
  | 'swapped'
  | 'undoing'
  | 'undone'
  | 'dropped'
  | 'failed';

/** The open journal row, as a condition. */
const ofSet = ({ set }: Adoption): string => `set_name = ${literal(set)} and finished_at is null`;

/** Brings the journal row up to date. */
export const mark = (adoption: Adoption, step: JournalStep, more = ''): string =>
  `update strata.adoptions set step = '${step}', updated_at = clock_timestamp()${more} where ${ofSet(adoption)}`;

/** What a session needs in which tables change their names: everything is named in full. */
export const SWAP_SETTINGS: readonly string[] = ['set local search_path = pg_catalog, pg_temp'];

const made = ({ schema }: Adoption, name: string): string => `${schema}.${identifier(name)}`;

const identities = ({ sequences }: Adoption): readonly AdoptedSequence[] =>
  sequences.filter(({ identity }) => identity !== null);

/** The partitioned table without rows and indexes, both key logs, and the journal row: one transaction. */
export const stageStatements = (adoption: Adoption, fingerprint: string): readonly string[] => {
  const { set, source, root, timeName, forward, backward } = adoption;
  return [
    `insert into strata.adoptions (set_name, source, step, adoption, bytes_before, detail)
 values (${literal(set)}, ${literal(source)}::regclass, 'planned', ${literal(JSON.stringify(adoption))}, pg_total_relation_size(${literal(source)}::regclass), jsonb_build_object('fingerprint', ${literal(fingerprint)}::text))`,
    `create table ${root} (like ${source} including all excluding indexes excluding identity) partition by range (${identifier(timeName)})`,
    ...identities(adoption).flatMap((sequence) => identityStatements(adoption, sequence)),
    `select strata.copy_properties(${literal(source)}, ${literal(root)})`,
    ...captureObjects(forward, 'refuse'),
    ...captureObjects({ ...backward, source: root }, 'mark'),
    mark(adoption, 'planned', `, root = ${literal(root)}::regclass`),
  ];
};

const identityStatements = (
  adoption: Adoption,
  { column, identity, counting, made: name, grants }: AdoptedSequence,
): readonly string[] => [
  `alter table ${adoption.root} alter column ${identifier(column)} add generated ${identity} as identity (sequence name ${made(adoption, name)} ${counting})`,
  ...grants.map((grant) => {
    const [privilege = '', grantee = ''] = grant.split('|');
    return `grant ${privilege} on sequence ${made(adoption, name)} to ${grantee}`;
  }),
];

/** The trigger on the table. Its lock waits for writers that are under way, so that the log misses none. */
export const captureStatements = (adoption: Adoption): readonly string[] => [
  `lock table only ${adoption.source} in share row exclusive mode`,
  ...captureTriggers(adoption.forward),
  mark(adoption, 'capturing'),
];

/** Pages one session copies at least: 128 MB. */
const PAGES_PER_SESSION = 16_384;
const COPY_SESSIONS_MAX = 4;

/** The copy, cut by pages for as many sessions as a big table is worth; each sorts by week, account and key. */
export const copyInto = ({ forward, timeName, hashName }: Adoption, pages: number): readonly string[] => {
  const sessions = Math.min(COPY_SESSIONS_MAX, Math.max(1, Math.ceil(pages / PAGES_PER_SESSION)));
  const page = (n: number): string => `'(${Math.floor((pages * n) / sessions)},0)'::tid`;
  const parts = Array.from({ length: sessions }, (_unused, n) => {
    const bounds = [
      ...(n > 0 ? [`ctid >= ${page(n)}`] : []),
      ...(n < sessions - 1 ? [`ctid < ${page(n + 1)}`] : []),
    ];
    return bounds.length === 0 ? forward.source : `${forward.source} where ${bounds.join(' and ')}`;
  });
  const order = [weekOfRow(identifier(timeName)), identifier(hashName), ...forward.keys];
  return copyStatements(
    { ...forward, parts, keys: [...new Set(order)] },
    { heap: 'key', timeColumn: identifier(timeName), lower: '' },
  );
};

/** The triggers that make undoing loss-less; they are there before the exchange, because there are thousands of partitions to have them. */
export const armStatements = (adoption: Adoption): readonly string[] => {
  const there = { ...adoption.backward, source: adoption.root, parts: [adoption.root] };
  return [...endCapture(there), ...captureTriggers(there), mark(adoption, 'arming')];
};

/** A round of replay before the exchange, and one behind it. */
export const replayForward = ({ forward, timeName }: Adoption): readonly string[] =>
  replayByWeek(forward, identifier(timeName), false);
export const replayBackward = ({ backward, timeName }: Adoption): readonly string[] =>
  replayByWeek(backward, identifier(timeName), true);

/** Views first, as whoever reads through them locks them; each statement locks one view and changes nothing. */
const lockAll = (dependents: readonly Dependent[], table: string): string =>
  [
    ...new Set(dependents.flatMap(({ locking }) => locking ?? [])),
    `lock table ${table} in access exclusive mode`,
  ].join(';\n');

const collectDependents = (table: string): string =>
  `select set_config('strata.dependents', coalesce((select jsonb_agg(d.statement) from strata.adoption_dependents(${literal(table)}) d), '[]')::text, true)`;

const MAKE_DEPENDENTS_AGAIN = `do $$ declare statement text; begin
  for statement in select jsonb_array_elements_text(current_setting('strata.dependents')::jsonb) loop
    execute statement;
  end loop;
end $$`;

const refuseAltered = ({ source }: Adoption, fingerprint: string): string =>
  `do $$ begin
  if strata.table_fingerprint(${literal(source)}) <> ${literal(fingerprint)} then
    raise exception 'somebody has altered % meanwhile', ${literal(source)} using errcode = 'object_not_in_prerequisite_state';
  end if;
end $$`;

/** Sequences of defaults change their owner: it has to be in the same schema, so before or behind a table that leaves it. */
const ownSequences = (adoption: Adoption, table: string): readonly string[] =>
  adoption.sequences
    .filter(({ identity }) => identity === null)
    .map(
      ({ name, column }) => `alter sequence ${made(adoption, name)} owned by ${table}.${identifier(column)}`,
    );

/** An identity goes on counting where the other has stopped. */
const countOn = (from: string, to: string): string =>
  `select setval(${literal(to)}::regclass, s.last_value, s.is_called) from ${from} s`;

/** The exchange. Nothing in here depends on how many rows there are. */
export const swapStatements = (
  adoption: Adoption,
  dependents: readonly Dependent[],
  fingerprint: string,
): readonly string[] => {
  const { schema, source, root, rootName, held, tableName, forward, hold } = adoption;
  return [
    lockAll(dependents, `only ${source}`),
    LOCKED_AT,
    refuseAltered(adoption, fingerprint),
    refuseBacklog(forward),
    refuseMissingWeeks(adoption),
    ...replayForward(adoption),
    ...endCapture(forward),
    ...dropLog(forward),
    collectDependents(source),
    `select strata.hand_over(${literal(source)}, ${literal(root)})`,
    ...ownSequences(adoption, root),
    ...identities(adoption).map((sequence) =>
      countOn(made(adoption, sequence.name), made(adoption, sequence.made)),
    ),
    `alter table ${source} set schema ${identifier(HELD_SCHEMA)}`,
    `alter table ${schema}.${identifier(rootName)} rename to ${identifier(tableName)}`,
    ...adoption.indexes.map(
      (index) => `alter index ${made(adoption, index.made)} rename to ${identifier(index.name)}`,
    ),
    ...identities(adoption).map(
      (sequence) => `alter sequence ${made(adoption, sequence.made)} rename to ${identifier(sequence.name)}`,
    ),
    ...refuseWrites(held),
    MAKE_DEPENDENTS_AGAIN,
    ...register(adoption, source),
    mark(
      adoption,
      'swapped',
      `, swapped_at = clock_timestamp(), drop_after = clock_timestamp() + interval ${literal(hold)}, detail = detail || jsonb_build_object('locked_ms', ${LOCKED_MS})`,
    ),
  ];
};

const refuseReshaped = ({ source, held }: Adoption): string => {
  const shape = (table: string): string =>
    `select a.attname, a.atttypid, a.atttypmod, a.attcollation from pg_attribute a where a.attrelid = ${literal(table)}::regclass and a.attnum > 0 and not a.attisdropped`;
  return `do $$ begin
  if exists ((${shape(source)}) except (${shape(held)})) or exists ((${shape(held)}) except (${shape(source)})) then
    raise exception 'the columns of % have changed', ${literal(source)} using errcode = 'object_not_in_prerequisite_state';
  end if;
end $$`;
};

/** From now on a write to any partition is refused, by the triggers that are there: nothing may be lost in a table that is dropped. */
const refuseByCapture = ({ backward: { log } }: Adoption): string =>
  `create or replace function ${log}() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $capture$
begin
  raise exception '% is not part of a set any more; nothing may be written to it', tg_relid::regclass
    using errcode = 'object_not_in_prerequisite_state', hint = 'Write to the table itself.';
end
$capture$`;

/** The exchange back. */
export const swapBackStatements = (
  adoption: Adoption,
  dependents: readonly Dependent[],
): readonly string[] => {
  const { set, schema, source, rootName, held, backward } = adoption;
  const journals = ['held_partitions', 'consolidations', 'partition_sets'];
  return [
    lockAll(dependents, source),
    LOCKED_AT,
    refuseReshaped(adoption),
    refuseBacklog(backward),
    ...replayBackward(adoption),
    `drop trigger if exists strata_adopted_truncate on ${source}`,
    refuseByCapture(adoption),
    `drop table ${backward.log}`,
    collectDependents(source),
    `drop trigger strata_detached on ${held}`,
    `select strata.hand_over(${literal(source)}, ${literal(held)})`,
    ...identities(adoption).map(({ name }) =>
      countOn(made(adoption, name), `${identifier(HELD_SCHEMA)}.${identifier(name)}`),
    ),
    ...adoption.indexes.map(
      (index) => `alter index if exists ${made(adoption, index.name)} rename to ${identifier(index.made)}`,
    ),
    ...identities(adoption).map(
      (sequence) => `alter sequence ${made(adoption, sequence.name)} rename to ${identifier(sequence.made)}`,
    ),
    `alter table ${source} rename to ${identifier(rootName)}`,
    `alter table ${held} set schema ${schema}`,
    ...ownSequences(adoption, source),
    MAKE_DEPENDENTS_AGAIN,
    ...journals.map((journal) => `delete from strata.${journal} where set_name = ${literal(set)}`),
    mark(
      adoption,
      'undone',
      `, drop_after = null, detail = detail || jsonb_build_object('locked_back_ms', ${LOCKED_MS})`,
    ),
  ];
};

/** Drops the partitioned table that was exchanged back; whether it is there still, a crash may have decided. */
export const dropUndone = (adoption: Adoption): readonly string[] => [
  `drop table if exists ${adoption.root}`,
  ...dropLog(adoption.backward),
  mark(adoption, 'undone', ', finished_at = clock_timestamp()'),
];

/** Drops the plain table that was held; from then on nothing can be undone. */
export const dropHeldStatements = (adoption: Adoption): readonly string[] => [
  `lock table ${adoption.source} in access exclusive mode`,
  ...endCapture(adoption.backward),
  ...dropLog(adoption.backward),
  `drop table ${adoption.held}`,
  mark(adoption, 'dropped', ', finished_at = clock_timestamp()'),
];

/** Makes the capture do nothing, and drops its log; the first waits for writers that are logging. */
export const silenceCapture = (adoption: Adoption): readonly string[] => [
  `lock table ${adoption.forward.log} in access exclusive mode`,
  silence(adoption.forward),
  `drop table ${adoption.forward.log}`,
  mark(adoption, 'capturing'),
];

/** Drops the triggers, under a lock that waits for readers of the table, too. */
export const dropTriggers = (adoption: Adoption): readonly string[] => [
  `lock table only ${adoption.source} in access exclusive mode`,
  ...endCapture(adoption.forward),
];

/** Takes away what an adoption has made, while no trigger of the table uses it. */
export const dropWhatIsMade = ({ forward, backward, root }: Adoption): readonly string[] => [
  ...dropLog(forward),
  `drop table if exists ${root}`,
  ...dropLog(backward),
];
