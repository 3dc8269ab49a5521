/** Change capture: a log of the keys that writers touch, filled by triggers on the source. */
import { literal } from '../../../db/quote.ts';
import type { CopySpec } from './copy-spec.ts';

/** What a TRUNCATE of the source meets: a refusal, or a mark in the log from which a replay knows. */
export type OnTruncate = 'refuse' | 'mark';

const ROW_TRIGGER = 'strata_capture';
const TRUNCATE_TRIGGER = 'strata_capture_truncate';

/** The log and its trigger function. Nothing fills it before {@link captureTriggers}. */
export const captureObjects = (
  { source, keys, log }: CopySpec,
  onTruncate: OnTruncate,
): readonly string[] => {
  const list = keys.join(', ');
  const of = (row: string): string => keys.map((key) => `${row}.${key}`).join(', ');
  const truncated =
    onTruncate === 'mark'
      ? `insert into ${log} default values;`
      : `raise exception 'cannot truncate % now: it is being consolidated', tg_relid::regclass
      using errcode = 'object_in_use', hint = 'Try again in a few minutes, or delete the rows.';`;
  return [
    `create table ${log} as select ${list} from ${source} with no data`,
    `create function ${log}() returns trigger language plpgsql security definer set search_path = pg_catalog, pg_temp as $capture$
begin
  if tg_op = 'TRUNCATE' then
    ${truncated}
    return null;
  end if;
  if tg_op <> 'INSERT' then
    insert into ${log} (${list}) values (${of('old')});
  end if;
  if tg_op = 'INSERT' or tg_op = 'UPDATE' and (${of('new')}) is distinct from (${of('old')}) then
    insert into ${log} (${list}) values (${of('new')});
  end if;
  return null;
end
$capture$`,
    `revoke all on function ${log}() from public`,
    `comment on table ${log} is ${literal(`Keys of ${source} written meanwhile; see strata.consolidations`)}`,
  ];
};

/**
 * Starts the capture. ENABLE ALWAYS, so that a session of replication is captured too. A row trigger on a partitioned table is
 * cloned to its leaves, a TRUNCATE trigger is not.
 */
export const captureTriggers = ({ source, parts, log }: CopySpec): readonly string[] => [
  `create trigger ${ROW_TRIGGER} after insert or update or delete on ${source} for each row execute function ${log}()`,
  `alter table ${source} enable always trigger ${ROW_TRIGGER}`,
  ...new Set([source, ...parts])
    .values()
    .flatMap((table) => [
      `create trigger ${TRUNCATE_TRIGGER} before truncate on ${table} for each statement execute function ${log}()`,
      `alter table ${table} enable always trigger ${TRUNCATE_TRIGGER}`,
    ]),
];

/** Ends the capture, however much of it there is. */
export const endCapture = ({ source, parts }: Pick<CopySpec, 'source' | 'parts'>): readonly string[] => [
  `drop trigger if exists ${ROW_TRIGGER} on ${source}`,
  ...new Set([source, ...parts])
    .values()
    .map((table) => `drop trigger if exists ${TRUNCATE_TRIGGER} on ${table}`),
];

/** Makes the triggers do nothing without touching the tables that have them. */
export const silence = ({ log }: Pick<CopySpec, 'log'>): string =>
  `create or replace function ${log}() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as 'begin return null; end'`;

/** Drops the log and its function; no trigger may use it any more. */
export const dropLog = ({ log }: Pick<CopySpec, 'log'>): readonly string[] => [
  `drop table if exists ${log}`,
  `drop function if exists ${log}()`,
];
