/** Plans to make a managed set of a plain table: by which steps, and what will be different. Reads only. */
import { sql } from 'kysely';
import { on, type Pool } from '../../../db/query.ts';
import { WarehouseError } from '../../../runtime/errors.ts';
import { proofStatements } from '../consolidate/prove.ts';
import type { LockMode, Plan, Step, StepLock } from '../plan.ts';
import {
  basisOfDraft,
  draftAdoption,
  type Adoption,
  type AdoptRequest,
  type Dependent,
  type Drafted,
} from './adoption.ts';
import type { Obstacle } from './keys.ts';
import { COPIED_AT } from '../consolidate/statements.ts';
import {
  armStatements,
  captureStatements,
  copyInto,
  mark,
  replayForward,
  stageStatements,
  swapStatements,
} from './statements.ts';
import { readSize, type TableSize } from './table.ts';
import { readWeekPlan, weekTransactions, type WeekPlan } from './weeks.ts';

/** A plan to adopt a table, with what was asked for. */
export interface AdoptPlan extends Plan {
  readonly verb: 'adopt';
  readonly request: AdoptRequest;
  readonly adoption: Adoption;
}

/**
 * Plans to make a managed set of a plain table.
 *
 * @param options.now the present instant
 * @throws WarehouseError `usage` when the table or a column is not there, `config` with every obstacle and its remedy
 */
export const planAdopt = async (
  pool: Pool,
  request: AdoptRequest,
  { now }: { readonly now: Date },
): Promise<AdoptPlan> => {
  const drafted = await draftAdoption(pool, request);
  const { adoption, fingerprint, dependents, table } = drafted;
  refuseObstacles(request.table, drafted.obstacles);
  const weeks = await readWeekPlan(pool, adoption, now);
  refuseObstacles(request.table, infinite(adoption, weeks));
  const size = await readSize(pool, table);
  const extent: Extent = {
    rows: size.rows,
    bytes: size.heap_bytes,
    pages: size.pages,
    runs: weeks.runs,
    count: weeks.count,
    indexes: adoption.indexes.flatMap(({ statements }) => statements),
  };
  return {
    verb: 'adopt',
    set: adoption.set,
    basis: basisOfDraft(drafted),
    request,
    adoption,
    steps: adoptSteps(adoption, dependents, fingerprint, extent),
    notes: [
      ...drafted.notes,
      ...notesOf(drafted, weeks, size),
      ...(await readWarnings(pool, adoption, weeks)),
    ],
  };
};

const refuseObstacles = (source: string, obstacles: readonly Obstacle[]): void => {
  if (obstacles.length === 0) return;
  throw new WarehouseError(
    'config',
    `${source} cannot be adopted: ${obstacles.map(({ obstacle }) => obstacle).join('; ')}`,
    { remedy: obstacles.map(({ remedy }) => remedy).join(' · ') },
  );
};

const infinite = ({ source, timeName }: Adoption, { infinite: rows }: WeekPlan): readonly Obstacle[] =>
  rows === 0
    ? []
    : [
        {
          obstacle: `${rows} rows lie at infinity, which no week holds`,
          remedy: `Give them a time or delete them: DELETE FROM ${source} WHERE NOT isfinite("${timeName}");`,
        },
      ];

const notesOf = (
  { adoption, dependents }: Drafted,
  { runs, count, outlying }: WeekPlan,
  { parameters, bytes }: TableSize,
): readonly string[] => [
  `${count} weeks of ${adoption.modulus} hash partitions are made${runs.length > 1 ? `, in ${runs.length} stretches` : ''}. A row of another week is refused afterwards: have \`pgstrata schedule\` or \`pgstrata maintain ensure --set ${adoption.set}\` make weeks ahead.`,
  ...outlying.map(
    ({ week, rows }) =>
      `${rows} rows lie in the week of ${week}, out of the window that loads take rows for; they are kept, in a week of their own.`,
  ),
  ...(dependents.length === 0
    ? []
    : [
        `Made again in the exchange, as they are: ${dependents.map(({ kind, name }) => `${kind} ${name}`).join(', ')}.`,
      ]),
  ...(parameters.length === 0
    ? []
    : [`Storage parameters that partitions do not take over: ${parameters.join(', ')}.`]),
  `The server needs room for ${bytes} bytes more until the plain table is dropped, ${adoption.hold} behind the exchange; until then it can be undone without loss.`,
];

/** What does not forbid it but should be known. */
const readWarnings = async (
  pool: Pool,
  { modulus }: Adoption,
  { count }: WeekPlan,
): Promise<readonly string[]> => {
  const { rows } = await sql<{ warning: string }>`
    select format('Pid %s (%s) holds a snapshot since %s ago: until it ends the tables cannot be exchanged.', a.pid, a.application_name, date_trunc('second', clock_timestamp() - a.xact_start)) as warning
      from pg_stat_activity a
     where a.datname = current_database() and a.backend_xmin is not null and a.xact_start < clock_timestamp() - interval '10 minutes' and a.pid <> pg_backend_pid()
    union all
    select format('The publication %I is FOR ALL TABLES: it publishes the copy, too.', p.pubname) from pg_publication p where p.puballtables
    union all
    select format('%s partitions may need more locks than max_locks_per_transaction = %s leaves room for: raise it.', ${count * (modulus + 1)}::int, current_setting('max_locks_per_transaction'))
     where ${count * (modulus + 1) * 3}::int > current_setting('max_locks_per_transaction')::int * current_setting('max_connections')::int / 2`.execute(
    on(pool),
  );
  return rows.map(({ warning }) => warning);
};

/** What apply does in a step; the first word of its name. */
export type Phase = 'stage' | 'weeks' | 'capture' | 'copy' | 'index' | 'arm' | 'replay' | 'prove' | 'swap';

/** How much there is to do. */
export interface Extent {
  readonly rows: number | null;
  readonly bytes: number;
  readonly pages: number;
  readonly runs: WeekPlan['runs'];
  readonly count: number;
  /** Statements that make keys and indexes. */
  readonly indexes: readonly string[];
}

/** All steps. */
export const adoptSteps = (
  adoption: Adoption,
  dependents: readonly Dependent[],
  fingerprint: string,
  { rows, bytes, pages, runs, count, indexes }: Extent,
): readonly Step[] => {
  const { source, root, forward, hold } = adoption;
  const step = (
    phase: Phase,
    statements: readonly string[],
    locks: readonly StepLock[],
    extent: Partial<Pick<Step, 'rows' | 'bytes'>>,
    why: string,
  ): Step => ({
    name: `${phase} ${adoption.tableName}`,
    week: null,
    sql: statements,
    locks,
    rows: extent.rows ?? null,
    bytes: extent.bytes ?? null,
    why,
  });
  const lock = (
    mode: LockMode,
    held: StepLock['held'] = 'moment',
    relation = source,
  ): readonly StepLock[] => [{ relation, mode, held }];
  return [
    step(
      'stage',
      stageStatements(adoption, fingerprint),
      lock('ACCESS SHARE'),
      {},
      'Makes the partitioned table beside, with all that belongs to it but rows, weeks and indexes; one transaction with the journal row.',
    ),
    step(
      'weeks',
      weekTransactions(adoption, runs).flat(),
      [],
      {},
      `Makes ${count} weeks, some in each transaction. The set is registered only inside of them, until the exchange.`,
    ),
    step(
      'capture',
      captureStatements(adoption),
      lock('SHARE ROW EXCLUSIVE'),
      {},
      'From here on the keys of all rows written to the table are logged, and TRUNCATE is refused. Writers wait for a moment, readers do not. Tried again with growing waits when it cannot have the lock at once.',
    ),
    step(
      'copy',
      [...copyInto(adoption, pages), mark(adoption, 'copying', COPIED_AT)],
      lock('ACCESS SHARE', 'step'),
      { rows, bytes },
      'Copies all rows at one snapshot that is younger than the capture, in the order of week, account and key, into partitions without indexes. Weeks that are missing by then are made first.',
    ),
    step(
      'index',
      [...indexes, `vacuum (freeze, analyze) ${root}`, mark(adoption, 'indexing')],
      [],
      { rows, bytes },
      'Keys and indexes; nobody uses the partitioned table yet.',
    ),
    step(
      'arm',
      armStatements(adoption),
      [],
      {},
      'What will be written to the partitioned table is logged, so that undoing loses nothing; what a replay writes is not.',
    ),
    step(
      'replay',
      [...replayForward(adoption), mark(adoption, 'replaying')],
      lock('ACCESS SHARE'),
      {},
      'Brings over what was written meanwhile: a transaction per round, until hardly anything is left. Weeks that are missing by then are made.',
    ),
    step(
      'prove',
      proofStatements(forward),
      lock('ACCESS SHARE', 'step'),
      { rows, bytes },
      'Counts and order-independent hashes of both sides at one snapshot; they are kept in the journal, and a difference ends it here.',
    ),
    step(
      'swap',
      swapStatements(adoption, dependents, fingerprint),
      [
        ...dependents.flatMap(({ locking, name }) =>
          locking === null ? [] : lock('ACCESS EXCLUSIVE', 'moment', name),
        ),
        ...lock('ACCESS EXCLUSIVE'),
      ],
      {},
      `One short transaction: replays the rest, moves the table to strata_held for ${hold}, gives its name, triggers and sequences to the partitioned one, makes views again, and registers the set. Tried again with growing waits when it cannot have the locks at once.`,
    ),
  ];
};
