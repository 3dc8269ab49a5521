/** What the page tells of streams beyond their status, and of maintenance: rates of the last hour, runs, plans and proofs. */
import { sql } from 'kysely';
import { on, type Client } from '../../db/query.ts';

/** Rows loaded in each of the last sixty minutes, the oldest first. */
export interface StreamRate {
  readonly stream: string;
  readonly network: string;
  readonly rows: readonly number[];
}

/** Newest ranges of a source that are looked at: an hour of all but the smallest batches. */
const RANGES_MAX = 5000;

/** The rates of every stream and network, from the ledger alone. */
export const readRates = async (client: Client): Promise<readonly StreamRate[]> => {
  const { rows } = await sql<StreamRate>`
    select src.stream, src.network,
           (select array_agg(coalesce(m.rows, 0)::float8 order by minute)
              from generate_series(0, 59) minute
              left join (
                select 59 - floor(extract(epoch from now() - b.committed_at) / 60)::int as at, sum(b.row_count) as rows
                  from (select row_count, committed_at from strata.stream_batches
                         where source_id = src.source_id order by start_block desc limit ${RANGES_MAX}) b
                 where b.committed_at > now() - interval '60 minutes' group by 1
              ) m on m.at = minute) as rows
      from strata.sources src order by src.stream, src.network`.execute(on(client));
  return rows;
};

/** One run of maintenance, in a line. */
export interface RunLine {
  readonly run_id: number;
  readonly set: string;
  readonly verb: string;
  readonly asked_by: string;
  readonly outcome: string;
  readonly error: string | null;
  readonly host: string | null;
  readonly steps: number;
  readonly started_at: Date;
  readonly finished_at: Date | null;
}

/** The newest runs. */
export const readRuns = async (client: Client, limit: number): Promise<readonly RunLine[]> => {
  const { rows } = await sql<RunLine>`
    select run_id, set_name as "set", verb, asked_by, outcome, error, host, started_at, finished_at,
           coalesce(jsonb_array_length(case when jsonb_typeof(plan -> 'steps') = 'array' then plan -> 'steps' end), 0) as steps
      from strata.maintenance_runs order by run_id desc limit ${limit}`.execute(on(client));
  return rows;
};

/** A step of a run's plan, without its statements. */
export interface RunStep {
  readonly name: string;
  readonly week: string | null;
  readonly locks: readonly { readonly relation: string; readonly mode: string; readonly held: string }[];
  readonly rows: number | null;
  readonly bytes: number | null;
  readonly why: string;
}

/** A run with its plan, what came of it, and the proofs of the weeks it consolidated. */
export interface RunDetail extends RunLine {
  readonly plan: { readonly notes: readonly string[]; readonly steps: readonly RunStep[] };
  readonly result: unknown;
  readonly remedy: string | null;
  readonly proofs: readonly RunProof[];
}

/** That a copy was the source when it took its place. */
export interface RunProof {
  readonly week: string;
  readonly step: string;
  readonly rows: number | null;
  readonly hash: string | null;
  readonly parts: number | null;
  readonly bytes_before: number | null;
  readonly bytes_after: number | null;
  readonly root_locked_ms: number | null;
}

/** Steps that are shown; the rest is counted. */
const STEPS_MAX = 400;

/** One run; null where there is none of that number. */
export const readRun = async (client: Client, runId: number): Promise<RunDetail | null> => {
  const { rows } = await sql<RunDetail>`
    select r.run_id, r.set_name as "set", r.verb, r.asked_by, r.outcome, r.error, r.host, r.started_at, r.finished_at,
           (select count(*)::int from jsonb_array_elements(p.steps)) as steps,
           jsonb_build_object('notes', coalesce(r.plan -> 'notes', '[]'),
             'steps', (select coalesce(jsonb_agg(s.step - 'sql' order by s.n), '[]')
                         from jsonb_array_elements(p.steps) with ordinality s(step, n) where s.n <= ${STEPS_MAX})) as plan,
           r.detail -> 'result' as result, r.detail ->> 'remedy' as remedy,
           (select coalesce(jsonb_agg(jsonb_build_object(
                     'week', c.week_name, 'step', c.step, 'rows', c.row_count, 'hash', c.proof -> 'forward' ->> 'hash',
                     'parts', jsonb_array_length(c.proof -> 'forward' -> 'parts'), 'bytes_before', c.bytes_before,
                     'bytes_after', c.bytes_after, 'root_locked_ms', c.detail -> 'root_locked_ms') order by c.lower_bound), '[]')
              from strata.consolidations c
             where c.set_name = r.set_name and r.verb = 'consolidate' and c.proof is not null
               and c.started_at between r.started_at and coalesce(r.finished_at, now())) as proofs
      from strata.maintenance_runs r
     cross join lateral (select case when jsonb_typeof(r.plan -> 'steps') = 'array' then r.plan -> 'steps' else '[]' end as steps) p
     where r.run_id = ${runId}`.execute(on(client));
  return rows[0] ?? null;
};

/** Ends of maintenance runs that are kept, by set, verb and outcome; and the newest of each that ended well. */
export interface RunCount {
  readonly set: string;
  readonly verb: string;
  readonly outcome: string;
  readonly runs: number;
  readonly last_seconds: number;
  readonly last_at: number;
}

/** Counts them. */
export const countRuns = async (client: Client): Promise<readonly RunCount[]> => {
  const { rows } = await sql<RunCount>`
    select set_name as "set", verb, outcome, count(*)::int as runs,
           (array_agg(extract(epoch from finished_at - started_at)::float8 order by run_id desc))[1] as last_seconds,
           max(extract(epoch from finished_at))::float8 as last_at
      from strata.maintenance_runs where outcome <> 'running' group by set_name, verb, outcome order by 1, 2, 3`.execute(
    on(client),
  );
  return rows;
};

/** What consolidation has come to, by set and way it went. */
export interface ConsolidationCount {
  readonly set: string;
  readonly step: string;
  readonly weeks: number;
  readonly bytes_before: number;
  readonly bytes_after: number;
  /** The longest that a root was locked for a swap. */
  readonly root_locked_ms: number | null;
}

/** Counts consolidations by the step they are at. */
export const countConsolidations = async (client: Client): Promise<readonly ConsolidationCount[]> => {
  const { rows } = await sql<ConsolidationCount>`
    select set_name as "set", step, count(*)::int as weeks, coalesce(sum(bytes_before), 0)::float8 as bytes_before,
           coalesce(sum(bytes_after), 0)::float8 as bytes_after, max((detail ->> 'root_locked_ms')::float8) as root_locked_ms
      from strata.consolidations group by set_name, step order by 1, 2`.execute(on(client));
  return rows;
};

/** Open connections of pgstrata's processes to this database, by what they call themselves. */
export const countConnections = async (
  client: Client,
): Promise<readonly { readonly application: string; readonly connections: number }[]> => {
  const { rows } = await sql<{ application: string; connections: number }>`
    select case when application_name ~ '^pgstrata [0-9a-f]{8} ' then 'pgstrata ingest' else application_name end as application,
           count(*)::int as connections
      from pg_stat_activity where datname = current_database() and application_name like 'pgstrata%' group by 1 order by 1`.execute(
    on(client),
  );
  return rows;
};

/** Which database this is. */
export const readWhere = async (
  client: Client,
): Promise<{ readonly database: string; readonly server: string }> => {
  const { rows } = await sql<{ database: string; server: string }>`
    select current_database() as database, split_part(current_setting('server_version'), ' ', 1) as server`.execute(
    on(client),
  );
  return rows[0]!;
};
