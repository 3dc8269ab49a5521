/**
 * DETACH … CONCURRENTLY of one week, to its end. PostgreSQL commits it in two halves: after the first the week is invisible
 * (`inhdetachpending`), the second waits for everybody who might still read it, and holds SHARE UPDATE EXCLUSIVE on the root
 * meanwhile, behind which a new week would have to wait. So it is given up after a moment and finished by FINALIZE later.
 *
 * ```
 *   attached ──concurrently──► pending ──finalize──► detached
 *                  └── nobody in the way ──────────────┘
 * ```
 */
import { sql } from 'kysely';
import { sqlstateOf } from '../../../db/errors.ts';
import { on, type Client, type Pool } from '../../../db/query.ts';
import { WarehouseError } from '../../../runtime/errors.ts';
import { persist, runStatements, type Patience } from '../carry-out.ts';
import type { Step } from '../plan.ts';
import { LOCK_TIMEOUT } from '../while-locked.ts';

/** Readers of before may go on for seconds; whoever wants a new week waits behind a try, not behind all of them. */
const DETACH: Patience = { lockWait_ms: 1_000, pause_ms: 500, attempts: 60 };

/** How far the detach of a table has come. */
export type Attachment = 'attached' | 'pending' | 'detached';

/** Looks at the catalog. */
const attachmentOf = async (database: Client | Pool, qualified: string): Promise<Attachment> => {
  const { rows } = await sql<{ pending: boolean }>`
    select i.inhdetachpending as pending from pg_inherits i where i.inhrelid = to_regclass(${qualified})`.execute(
    on(database),
  );
  const [row] = rows;
  if (row === undefined) return 'detached';
  return row.pending ? 'pending' : 'attached';
};

const DETACH_FORM =
  /^alter table (?<root>.+?) detach partition (?<week>.+?)(?<how> concurrently| finalize)?$/;

const HOW = { attached: ' concurrently', pending: ' finalize', sharded: '' } as const;

/** The statement that goes on from where the detach is; Citus refuses `concurrently` for its sharded weeks. */
export const detachStatement = (root: string, week: string, from: keyof typeof HOW): string =>
  `alter table ${root} detach partition ${week}${HOW[from]}`;

/** Whether a step is a detach. */
export const isDetach = (step: Step): boolean => DETACH_FORM.test(step.sql[0] ?? '');

/**
 * Carries out a step whose one statement detaches a week.
 *
 * @throws WarehouseError `conflict` naming who held it up through all tries; the week is invisible by then, and the next
 *   retention finishes it
 */
export const detach = async (client: Client, step: Step, signal: AbortSignal): Promise<void> => {
  const { root = '', week = '', how } = DETACH_FORM.exec(step.sql[0] ?? '')?.groups ?? {};
  try {
    await persist(step.name, DETACH, signal, async () => {
      const state = await attachmentOf(client, week);
      if (state === 'detached') return;
      await runStatements(
        client,
        [detachStatement(root, week, how === undefined ? 'sharded' : state)],
        DETACH.lockWait_ms,
        signal,
      );
    });
  } catch (thrown) {
    if (sqlstateOf(thrown) !== LOCK_TIMEOUT) throw thrown;
    throw await heldUp(client, root, week, thrown);
  }
};

const heldUp = async (
  client: Client,
  root: string,
  week: string,
  cause: unknown,
): Promise<WarehouseError> => {
  const { rows } = await sql<{ who: string | null }>`
    select string_agg(distinct format('pid %s (%s, since %s)', a.pid, coalesce(nullif(a.application_name, ''), a.usename), a.xact_start), ', ') as who
      from pg_locks l join pg_stat_activity a on a.pid = l.pid
     where l.relation in (to_regclass(${root}), to_regclass(${week})) and l.database = (select d.oid from pg_database d where d.datname = current_database())
       and l.pid <> pg_backend_pid()`.execute(on(client));
  return new WarehouseError(
    'conflict',
    `${week} is invisible, but somebody who may still read it keeps it from being taken out: ${rows[0]?.who ?? 'a transaction that has ended since'}`,
    {
      sqlstate: LOCK_TIMEOUT,
      remedy: 'Let those transactions end, or end them, and retain again: it goes on from here.',
    },
    cause,
  );
};
