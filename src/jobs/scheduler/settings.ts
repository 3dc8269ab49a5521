/** When which verb runs: from `schedule` of the configuration and the CONSOLIDATION_* variables, which come first. */
import { WarehouseError } from '../../runtime/errors.ts';
import type { Config } from '../../runtime/config.ts';
import type { MaintenanceVerb } from '../verbs.ts';
import { cronFault } from './cron.ts';

/** When a verb runs. */
export interface VerbSchedule {
  readonly enabled: boolean;
  /** Cron expression, in UTC. */
  readonly cron: string;
  /** Weeks of one run; null for no limit. */
  readonly batch: number | null;
}

/** The whole timetable. */
export interface Schedule {
  readonly verbs: Readonly<Record<MaintenanceVerb, VerbSchedule>>;
  /** How often a process that waits looks whether the leader is gone, and the leader for what is due. */
  readonly poll_ms: number;
  /** A run begins up to so much behind its due time, each verb by a lot drawn at the start. */
  readonly jitter_ms: number;
  /** Given to sets that have no consolidate_after, in months; null for none. */
  readonly consolidateAfter_months: number | null;
}

/** More than a hundred years is a typing error. */
const MONTHS_MAX = 1200;

/**
 * Joins configuration and environment.
 *
 * @throws WarehouseError `config` with every fault at once
 */
export const scheduleOf = (config: Pick<Config, 'schedule'>, environment: NodeJS.ProcessEnv): Schedule => {
  const faults: string[] = [];
  const { create, consolidate, retain, optimize, poll_seconds, jitter_seconds } = config.schedule;
  const verb = (name: string, own: { enabled: boolean; cron: string }): VerbSchedule => {
    const fault = cronFault(own.cron);
    if (fault !== null) faults.push(`${name}: ${JSON.stringify(own.cron)}: ${fault}`);
    return { enabled: own.enabled, cron: own.cron, batch: null };
  };
  const [enabled, cron] = [environment['CONSOLIDATION_ENABLED'], environment['CONSOLIDATION_SCHEDULE']];
  const months = environment['CONSOLIDATION_THRESHOLD_MONTHS'];
  const merging = verb(isGiven(cron) ? 'CONSOLIDATION_SCHEDULE' : 'schedule.consolidate.cron', {
    enabled: isGiven(enabled) ? switchOf(enabled, faults) : consolidate.enabled,
    cron: isGiven(cron) ? cron : consolidate.cron,
  });
  const retaining = verb('schedule.retain.cron', retain);
  const schedule: Schedule = {
    verbs: {
      ensure: verb('schedule.create.cron', create),
      retain: retaining,
      // Both leave weeks behind that are held for a while; whoever makes them drops them.
      drop: { ...retaining, enabled: retain.enabled || merging.enabled },
      consolidate: { ...merging, batch: consolidate.weeks },
      optimize: verb('schedule.optimize.cron', optimize),
    },
    poll_ms: poll_seconds * 1000,
    jitter_ms: jitter_seconds * 1000,
    consolidateAfter_months: isGiven(months) ? monthsOf(months, faults) : (consolidate.after_months ?? null),
  };
  if (faults.length === 0) return schedule;
  throw new WarehouseError(
    'config',
    `the schedule has ${faults.length === 1 ? 'a fault' : `${faults.length} faults`}:\n${faults.map((fault) => `  - ${fault}`).join('\n')}`,
    {
      remedy:
        'Cron expressions have minute, hour, day of month, month and day of week, such as 0 2 * * 0; times are UTC.',
    },
  );
};

const isGiven = (value: string | undefined): value is string => value !== undefined && value.trim() !== '';

const switchOf = (text: string, faults: string[]): boolean => {
  const word = text.trim().toLowerCase();
  if (['true', '1', 'yes', 'on'].includes(word)) return true;
  if (!['false', '0', 'no', 'off'].includes(word))
    faults.push(`CONSOLIDATION_ENABLED: ${JSON.stringify(text)} must be true or false`);
  return false;
};

const monthsOf = (text: string, faults: string[]): number | null => {
  const months = Number(text);
  if (Number.isInteger(months) && months >= 1 && months <= MONTHS_MAX) return months;
  faults.push(
    `CONSOLIDATION_THRESHOLD_MONTHS: ${JSON.stringify(text)} must be a whole number of months, 1 to ${MONTHS_MAX}`,
  );
  return null;
};
