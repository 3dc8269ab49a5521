/** Cuts activities into groups, one list partition each, for sets whose weeks are partitioned by activity instead of hash. */
import { WarehouseError } from '../../runtime/errors.ts';

/** An activity as a points programme lists it. */
export interface Activity {
  readonly id: string;
  readonly category?: string | null;
  readonly type?: string | null;
}

/** A list partition of each week: its name and the values that go there; what no group names goes to the week's own default. */
export interface ActivityGroup {
  readonly name: string;
  readonly values: readonly string[];
}

/** Bytes of a group's name that are left by a set's name of up to 16 bytes, such as account_balances, and a week's date. */
const NAME_BYTES = 35;

/** Names that leaves of weeks have already. */
const RESERVED = /^(?:default|consolidated|hash_\d+)$/u;

const plainName = (activity: Activity): string => {
  const words = [activity.category, activity.type].filter((word) => word !== null && word !== undefined);
  const plain = words
    .join('_')
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/gu, '_')
    .replaceAll(/^_+|_+$/gu, '');
  if (plain === '') return 'other';
  const name = /^[a-z]/u.test(plain) ? plain : `g_${plain}`;
  return (RESERVED.test(name) ? `${name}_group` : name).slice(0, NAME_BYTES);
};

const numbered = (name: string, number: number): string => {
  if (number === 1) return name;
  const suffix = `_${number}`;
  return `${name.slice(0, NAME_BYTES - suffix.length)}${suffix}`;
};

/**
 * Groups activities by category and type, at most `max` in a group; a larger group is cut into `name`, `name_2`, ….
 * The same activities make the same groups, in whatever order they come.
 *
 * @param max most activities in one group
 * @returns groups for `create_partition_set(…, groups)` and {@link createPartitionManager}, sorted by name
 * @throws WarehouseError `usage` when an activity is there twice, or `max` is no positive integer
 *
 * @example createActivityGroups([{ id: 'xrd_holding', category: 'holding', type: 'passive' }], 10)
 * // [{ name: 'holding_passive', values: ['xrd_holding'] }]
 */
export const createActivityGroups = (activities: readonly Activity[], max = 10): readonly ActivityGroup[] => {
  if (!Number.isSafeInteger(max) || max < 1) {
    throw new WarehouseError('usage', `a group cannot have at most ${max} activities`, {
      remedy: 'Give a positive integer.',
    });
  }
  const ids = new Set<string>();
  const byName = new Map<string, string[]>();
  for (const activity of activities) {
    if (ids.has(activity.id)) {
      throw new WarehouseError('usage', `activity ${JSON.stringify(activity.id)} is there twice`, {
        value: activity.id,
        remedy: 'Give each activity once: a value can lie in one partition only.',
      });
    }
    ids.add(activity.id);
    const name = plainName(activity);
    byName.set(name, [...(byName.get(name) ?? []), activity.id]);
  }
  const taken = new Set(byName.keys());
  const groups: ActivityGroup[] = [];
  for (const [name, values] of [...byName].toSorted(([a], [b]) => (a < b ? -1 : 1))) {
    const sorted = values.toSorted();
    for (let start = 0, number = 1; start < sorted.length; start += max, number++) {
      while (number > 1 && taken.has(numbered(name, number))) number++;
      const unique = numbered(name, number);
      taken.add(unique);
      groups.push({ name: unique, values: sorted.slice(start, start + max) });
    }
  }
  return groups.toSorted((a, b) => (a.name < b.name ? -1 : 1));
};
