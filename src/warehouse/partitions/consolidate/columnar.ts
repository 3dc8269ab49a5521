/**
 * Old weeks on a cluster: where one server merges the hash partitions of a week, a cluster stores the week by column. Each way
 * has one name here, and the database's topology decides.
 */
import { sql } from 'kysely';
import { withClient } from '../../../db/pool.ts';
import { on, type Pool } from '../../../db/query.ts';
import { literal } from '../../../db/quote.ts';
import { messageOf } from '../../../runtime/errors.ts';
import { topologyOf } from '../../topology.ts';
import { asMaintainer } from '../apply.ts';
import { carryOut, type Patience } from '../carry-out.ts';
import { basisOf, momentary, plainStep, refuseStale, unknownSet, type Plan, type Step } from '../plan.ts';
import { columnarAtHand, readWeeks, STORED_BY_COLUMN, type WeekInfo } from '../weeks.ts';
import {
  applyConsolidate,
  type ConsolidatedWeek,
  type ConsolidateResult,
  type OnlineOptions,
} from './apply.ts';
import { planConsolidate, type ConsolidateOptions } from './plan.ts';
import { applyUndoConsolidation, planUndoConsolidation } from './undo.ts';

/** Loads hold the set for a batch; who waits for us in turn is let through after this. */
const PATIENCE: Patience = { lockWait_ms: 5_000, pause_ms: 1_000, attempts: 10 };

/** How a week is stored. */
type Method = 'columnar' | 'heap';

const storeStep = (set: string, week: WeekInfo, method: Method, root: string): Step => ({
  ...plainStep({
    name: `${method === 'columnar' ? 'store by column' : 'store by row'} ${week.name}`,
    week: week.lower?.toISOString() ?? null,
    sql: [
      `select strata.store_week(${literal(set)}, ${literal(week.qualified)}::regclass, ${literal(method)}) as rows`,
    ],
    locks: [
      { relation: week.qualified, mode: 'SHARE ROW EXCLUSIVE', held: 'step' },
      momentary(root, 'ACCESS EXCLUSIVE'),
    ],
    why: 'One transaction: copies the week, compares counts and order-independent hashes of both, and exchanges them.',
  }),
  bytes: null,
});

interface Policy {
  readonly root: string;
  readonly before: Date | null;
  readonly available: boolean;
}

const readPolicy = async (pool: Pool, set: string, now: Date): Promise<Policy> => {
  const { rows } = await sql<Policy>`
    select format('%I.%I', n.nspname, c.relname) as root, ${now.toISOString()}::timestamptz - consolidate_after as before,
           ${columnarAtHand} as available
      from strata.partition_sets s join pg_class c on c.oid = s.parent join pg_namespace n on n.oid = c.relnamespace
     where s.set_name = ${set}`.execute(on(pool));
  const [policy] = rows;
  if (policy === undefined) throw unknownSet(set);
  return policy;
};

/**
 * Plans what is to become of a set's old weeks: merged on one server, stored by column on a cluster.
 *
 * @throws WarehouseError `config` when there is no such set
 */
export const planOldWeeks = async (pool: Pool, set: string, options: ConsolidateOptions): Promise<Plan> =>
  (await isSharded(pool, set)) ? planStore(pool, set, options) : planConsolidate(pool, set, options);

/** Whether a set is cut into shards; false for one that is not there. */
export const isSharded = async (pool: Pool, set: string): Promise<boolean> => {
  if ((await topologyOf(pool)) === 'single') return false;
  const { rows } = await sql<{ sharded: boolean }>`
    select strata.is_distributed(parent) as sharded from strata.partition_sets where set_name = ${set}`.execute(
    on(pool),
  );
  return rows[0]?.sharded === true;
};

const planStore = async (
  pool: Pool,
  set: string,
  { weeks: asked, now }: ConsolidateOptions,
): Promise<Plan> => {
  const basis = await basisOf(pool, set);
  const policy = await readPolicy(pool, set, now);
  const notes: string[] = [];
  const plan = (steps: readonly Step[]): Plan => ({ verb: 'consolidate', set, basis, steps, notes });
  if (set !== STORED_BY_COLUMN) {
    notes.push(
      `${set} stays stored row by row: its shards are not merged, and late rows change what it holds, which storage by column does not allow.`,
    );
    return plan([]);
  }
  const weeks = await readWeeks(pool, set);
  if (asked === undefined && policy.before === null)
    notes.push(`${set} has no consolidate_after: no week is ever due.`);
  for (const start of asked ?? []) {
    const found = weeks.find(({ lower }) => lower?.getTime() === start.getTime());
    if (found === undefined) notes.push(`${set} has no week that starts at ${start.toISOString()}.`);
    else if (found.kind === 'columnar')
      notes.push(`${found.name} is left alone: it is stored by column already.`);
    else if (found.upper !== null && found.upper > now)
      notes.push(`${found.name} is left alone: it is not over yet.`);
  }
  const due = weeks.filter(({ lower, upper, kind }) => {
    if (kind !== 'sharded' || lower === null || upper === null || upper > now) return false;
    return asked === undefined
      ? policy.before !== null && upper <= policy.before
      : asked.some((start) => start.getTime() === lower.getTime());
  });
  if (due.length > 0 && !policy.available) {
    notes.push(
      `${due.length} weeks are left alone: this cluster has no columnar storage. Install citus_columnar on every node, and let a superuser run \`create extension citus_columnar\` on the coordinator.`,
    );
    return plan([]);
  }
  return plan(due.map((week) => storeStep(set, week, 'columnar', policy.root)));
};

/** Plans to store weeks row by row again, or to put held weeks back: what {@link planOldWeeks} had done to them. */
export const planUndoOldWeeks = async (
  pool: Pool,
  set: string,
  options: { readonly weeks?: readonly Date[]; readonly now: Date },
): Promise<Plan> => {
  if (!(await isSharded(pool, set))) return planUndoConsolidation(pool, set, options);
  const basis = await basisOf(pool, set);
  const { root } = await readPolicy(pool, set, options.now);
  const weeks = (await readWeeks(pool, set)).filter(
    ({ kind, lower }) =>
      kind === 'columnar' &&
      (options.weeks ?? [lower]).some((start) => start?.getTime() === lower?.getTime()),
  );
  const notes = weeks.length === 0 ? ['No such week is stored by column.'] : [];
  return { verb: 'undo', set, basis, steps: weeks.map((week) => storeStep(set, week, 'heap', root)), notes };
};

const isStore = ({ steps }: Plan): boolean => steps.some(({ name }) => name.startsWith('store by '));

/** Carries out a plan of {@link planOldWeeks}. @throws WarehouseError as `applyConsolidate` */
export const applyOldWeeks = (
  pool: Pool,
  plan: Plan,
  options: OnlineOptions = {},
): Promise<ConsolidateResult> =>
  isStore(plan) ? applyStore(pool, plan, options) : applyConsolidate(pool, plan, options);

/** Carries out a plan of {@link planUndoOldWeeks}. @throws WarehouseError as `applyUndoConsolidation` */
export const applyUndoOldWeeks = (
  pool: Pool,
  plan: Plan,
  options: OnlineOptions = {},
): Promise<ConsolidateResult> =>
  isStore(plan) ? applyStore(pool, plan, options) : applyUndoConsolidation(pool, plan, options);

const applyStore = (pool: Pool, plan: Plan, options: OnlineOptions): Promise<ConsolidateResult> =>
  asMaintainer(pool, plan.set, options.signal, async (signal) => {
    await refuseStale(pool, plan);
    const weeks: ConsolidatedWeek[] = [];
    for (const step of plan.steps) {
      if (signal.aborted) break;
      weeks.push(await storeWeek(pool, plan, step, { ...options, signal }));
    }
    return { set: plan.set, weeks };
  });

/** One week in one transaction: nothing is left of it when it fails. */
const storeWeek = async (
  pool: Pool,
  { set, verb }: Plan,
  step: Step,
  { signal, onEvent }: OnlineOptions & { readonly signal: AbortSignal },
): Promise<ConsolidatedWeek> => {
  const week = step.week ?? '';
  const name = step.name.slice(step.name.lastIndexOf(' ') + 1);
  const said = { set, week, step: step.name };
  const nothing = { name, week, rows: null, bytes_before: null, bytes_after: null, root_locked_ms: null };
  let bytes_before: number | null = null;
  onEvent?.({ kind: 'step', ...said });
  try {
    bytes_before = await bytesOf(pool, set, week);
    await withClient(pool, (client) => carryOut(client, step, PATIENCE, signal));
  } catch (thrown) {
    const error = messageOf(thrown);
    onEvent?.({ kind: 'failed', set, week, error });
    return { ...nothing, outcome: 'failed', error };
  }
  onEvent?.({ kind: 'done', ...said });
  return {
    ...nothing,
    outcome: verb === 'undo' ? 'undone' : 'consolidated',
    error: null,
    bytes_before,
    ...(await keepBytes(pool, set, week, bytes_before)),
  };
};

/** Bytes of the week on all nodes; Citus tells them only outside of a transaction that writes. */
const bytesOf = async (pool: Pool, set: string, week: string): Promise<number | null> => {
  const { rows } = await sql<{ bytes: number }>`
    select b.bytes from strata.table_bytes() b join strata.set_partitions(${set}) p on p.partition = b.relation
     where p.lower_bound = ${week}`.execute(on(pool));
  return rows[0]?.bytes ?? null;
};

/** Adds to the journal what the week takes now. @returns what the journal says of it */
const keepBytes = async (
  pool: Pool,
  set: string,
  week: string,
  before: number | null,
): Promise<Partial<Pick<ConsolidatedWeek, 'rows' | 'bytes_after'>>> => {
  const after = await bytesOf(pool, set, week);
  const { rows } = await sql<Pick<ConsolidatedWeek, 'rows' | 'bytes_after'>>`
    update strata.consolidations set bytes_before = ${before}, bytes_after = ${after}, updated_at = clock_timestamp()
     where consolidation_id = (select max(consolidation_id) from strata.consolidations where set_name = ${set} and lower_bound = ${week})
    returning row_count as rows, bytes_after`.execute(on(pool));
  return rows[0] ?? {};
};
