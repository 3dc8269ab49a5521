/** Change capture: a log of the keys that writers touch, filled by triggers on the source. */
import { literal } from '../../../db/quote.ts';
import type { CopySpec } from './copy-spec.ts';

/** What a TRUNCATE of the source meets: a refusal, or a mark in the log from which a replay knows. */
export type OnTruncate = 'refuse' | 'mark';

const ROW_TRIGGER = 'strata_capture';

const triggersOf = ({
  trigger = ROW_TRIGGER,
}: Pick<CopySpec, 'trigger'>): { row: string; truncate: string } => ({
  row: trigger,
  truncate: `${trigger}_truncate`,
});

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
      : `raise exception 'cannot truncate % now: its rows are being copied', tg_relid::regclass
      using errcode = 'object_in_use', hint = 'Try again in a few minutes, or delete the rows.';`;
  return [
    `create table ${log} as select ${list} from ${source} with no data`,
    `create function ${log}() returns trigger language plpgsql security definer set search_path = pg_catalog, pg_temp as $capture$
begin
  -- What a copy or a replay writes was logged where it was written first.
  if current_setting('strata.replaying', true) = 'on' then
    return null;
  end if;
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
    `comment on table ${log} is ${literal(`Keys of ${source} written meanwhile; see the journals of schema strata`)}`,
  ];
};

/**
 * Starts the capture. ENABLE ALWAYS, so that a session of replication is captured too. A row trigger on a partitioned table is
 * cloned to its leaves, a TRUNCATE trigger is not.
 */
export const captureTriggers = (spec: CopySpec): readonly string[] => {
  const { source, parts, log } = spec;
  const { row, truncate } = triggersOf(spec);
  return [
    `create trigger ${row} after insert or update or delete on ${source} for each row execute function ${log}()`,
    `alter table ${source} enable always trigger ${row}`,
    ...new Set([source, ...parts])
      .values()
      .flatMap((table) => [
        `create trigger ${truncate} before truncate on ${table} for each statement execute function ${log}()`,
        `alter table ${table} enable always trigger ${truncate}`,
      ]),
  ];
};

/** Ends the capture, however much of it there is. */
export const endCapture = (spec: Pick<CopySpec, 'source' | 'parts' | 'trigger'>): readonly string[] => {
  const { row, truncate } = triggersOf(spec);
  return [
    `drop trigger if exists ${row} on ${spec.source}`,
    ...new Set([spec.source, ...spec.parts])
      .values()
      .map((table) => `drop trigger if exists ${truncate} on ${table}`),
  ];
};

/** Makes the triggers do nothing without touching the tables that have them. */
export const silence = ({ log }: Pick<CopySpec, 'log'>): string =>
  `create or replace function ${log}() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as 'begin return null; end'`;

/** Drops the log and its function; no trigger may use it any more. */
export const dropLog = ({ log }: Pick<CopySpec, 'log'>): readonly string[] => [
  `drop table if exists ${log}`,
  `drop function if exists ${log}()`,
];
