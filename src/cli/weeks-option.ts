/** Weeks on the command line: `--week` by any of its days, or all of `--from` to `--to`. */
import { WarehouseError } from '../runtime/errors.ts';
import { instantOf, instantText, weekOf, weekStart } from '../runtime/instant.ts';

/** The options, as given. */
export interface WeekOptions {
  readonly week?: readonly string[];
  readonly from?: string;
  readonly to?: string;
}

/** A day as 2026-01-04. @throws WarehouseError `usage` */
export const dayOf = (option: string, text: string): Date => {
  const day = /^\d{4}-\d{2}-\d{2}$/.test(text) ? new Date(`${text}T00:00:00Z`) : null;
  // 2026-02-30 would otherwise roll over into March.
  if (day !== null && !Number.isNaN(day.getTime()) && day.toISOString().startsWith(text)) return day;
  throw new WarehouseError('usage', `${option} ${JSON.stringify(text)} is no day`, {
    remedy: 'Write it as 2026-01-04; any day of a week stands for that week (Sunday to Sunday, UTC).',
  });
};

/** The weeks asked for, as a field to spread into the options of a plan; none when none was asked for. */
export const weeksOf = ({ week = [], from, to }: WeekOptions): { readonly weeks?: readonly Date[] } => {
  if ((from === undefined) !== (to === undefined)) {
    throw new WarehouseError('usage', '--from and --to go together', {
      remedy: 'Give the first and the last day of the span, or --week for single weeks.',
    });
  }
  const days = week.map((text) => dayOf('--week', text));
  if (from !== undefined && to !== undefined) days.push(...span(dayOf('--from', from), dayOf('--to', to)));
  return days.length === 0 ? {} : { weeks: days };
};

const span = (from: Date, to: Date): Date[] => {
  const [first, last] = [weekOf(instantOf(from)), weekOf(instantOf(to))];
  if (to < from) {
    throw new WarehouseError('usage', '--to is before --from', {
      remedy: 'Give the earlier day as --from.',
    });
  }
  return Array.from(
    { length: last - first + 1 },
    (_unused, index) => new Date(instantText(weekStart(first + index))),
  );
};
