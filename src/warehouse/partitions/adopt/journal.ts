/** The journal of adoptions, strata.adoptions: where each one stands, so that a crash can be resumed or undone. */
import { sql, type RawBuilder } from 'kysely';
import { on, type Client, type Pool } from '../../../db/query.ts';
import type { Proof } from '../consolidate/prove.ts';
import type { Adoption } from './adoption.ts';
import type { JournalStep } from './statements.ts';

/** An adoption that is not finished: under way, broken off, or exchanged with its table still held. */
export interface OpenAdoption {
  readonly step: JournalStep;
  readonly adoption: Adoption;
  readonly fingerprint: string;
  readonly drop_after: Date | null;
}

/** All that are not finished, in the order in which they began. */
export const readOpenAdoptions = async (database: Pool | Client): Promise<readonly OpenAdoption[]> => {
  const { rows } = await sql<OpenAdoption>`
    select step, adoption, detail ->> 'fingerprint' as fingerprint, drop_after
      from strata.adoptions where finished_at is null order by adoption_id`.execute(on(database));
  return rows;
};

/** Where the set's open adoption stands; null when it has none. */
export const stepOf = async (database: Pool | Client, set: string): Promise<JournalStep | null> => {
  const { rows } = await sql<{ step: JournalStep }>`
    select step from strata.adoptions where set_name = ${set} and finished_at is null`.execute(on(database));
  return rows[0]?.step ?? null;
};

/** When the rows of the copy were there, as a query. */
export const copiedAt = (set: string): RawBuilder<unknown> =>
  sql`select (a.detail ->> 'copied_at')::timestamptz from strata.adoptions a where a.set_name = ${set} and a.finished_at is null`;

/** Writes down what went wrong; `failed` closes the row, because nothing of it is left. */
export const noteFailure = async (
  database: Pool | Client,
  set: string,
  error: string,
  step?: 'failed' | 'swapped',
): Promise<void> => {
  await sql`update strata.adoptions set error = ${error}, step = coalesce(${step ?? null}, step), updated_at = clock_timestamp(),
                   finished_at = case when ${step ?? null}::text = 'failed' then clock_timestamp() end
     where set_name = ${set} and finished_at is null`.execute(on(database));
};

/** Keeps a proof; the step moves on when there is one. */
export const keepProof = async (
  database: Pool | Client,
  set: string,
  name: 'forward' | 'backward',
  proof: Proof,
): Promise<void> => {
  await sql`update strata.adoptions
       set step = ${name === 'forward' ? 'verified' : 'undoing'}, row_count = ${proof.rows}, updated_at = clock_timestamp(),
           proof = coalesce(proof, '{}') || jsonb_build_object(${name}::text, ${JSON.stringify(proof)}::jsonb)
     where set_name = ${set} and finished_at is null`.execute(on(database));
};

/** What the journal says of an adoption that was just exchanged. */
export interface AdoptedTable {
  readonly rows: number;
  readonly bytes_before: number;
  readonly bytes_after: number;
  /** How long the table was locked, milliseconds. */
  readonly locked_ms: number;
}

/** Reads it, and notes the size. */
export const readAdopted = async (
  database: Pool | Client,
  { set, source }: Adoption,
): Promise<AdoptedTable> => {
  const { rows } = await sql<AdoptedTable>`
    update strata.adoptions
       set bytes_after = (select sum(pg_total_relation_size(t.relid)) from pg_partition_tree(${source}::regclass) t where t.isleaf)
     where set_name = ${set} and finished_at is null
    returning row_count as rows, bytes_before, bytes_after, (detail ->> 'locked_ms')::float8 as locked_ms`.execute(
    on(database),
  );
  return rows[0] ?? { rows: 0, bytes_before: 0, bytes_after: 0, locked_ms: 0 };
};
