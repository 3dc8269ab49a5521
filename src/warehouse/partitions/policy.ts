/** Brings the partition policies of the configuration into partition_sets, which drives everything else. */
import { on, type Pool } from '../../db/query.ts';
import type { PartitionPolicy } from '../../runtime/config.ts';
import { WarehouseError } from '../../runtime/errors.ts';

/**
 * Applies the policies that are given; what a policy does not mention stays as the database has it.
 *
 * @returns the sets that were touched
 * @throws WarehouseError `config` for a set that does not exist, or whose weeks are not cut by groups
 */
export const applyPolicies = async (
  pool: Pool,
  policies: Readonly<Record<string, PartitionPolicy>>,
): Promise<string[]> => {
  for (const [set, policy] of Object.entries(policies)) {
    if (Object.keys(policy).length === 0) continue;
    const { groups, ...columns } = policy;
    const updated = await on(pool)
      .updateTable('partition_sets')
      .set(withoutUndefined({ ...columns, groups: groups === undefined ? undefined : groupsJson(groups) }))
      .where('set_name', '=', set)
      .executeTakeFirst()
      .catch((thrown: unknown) => {
        throw asGroupFault(thrown, set);
      });
    if (updated.numUpdatedRows === 0n) {
      throw new WarehouseError('config', `partitions.${set}: there is no partition set of that name`, {
        remedy:
          'The managed sets are the rows of strata.partition_sets; a set of a `rows` stream appears with its first load.',
      });
    }
  }
  return Object.keys(policies);
};

/** Groups as strata.partition_sets keeps them, in the order given. */
export const groupsJson = (groups: Readonly<Record<string, readonly string[]>>): string =>
  JSON.stringify(Object.entries(groups).map(([name, values]) => ({ name, values })));

/** SQLSTATEs of check_groups(), and of the constraint that only sets of list layout have groups. */
const GROUP_FAULTS: Readonly<Record<string, string>> = {
  '22023': 'Mend the groups; docs/reference.md, "Configuration", says how they are written.',
  '23514': 'Leave `groups` out: a set keeps the layout it was created with.',
};

const asGroupFault = (thrown: unknown, set: string): unknown => {
  const { code = '', message = '' } = thrown as { code?: string; message?: string };
  const remedy = GROUP_FAULTS[code];
  return remedy === undefined
    ? thrown
    : new WarehouseError('config', `partitions.${set}: ${message}`, { remedy }, thrown);
};

type Defined<T> = { [K in keyof T]: Exclude<T[K], undefined> };

const withoutUndefined = <T extends object>(value: T): Partial<Defined<T>> =>
  Object.fromEntries(Object.entries(value).filter(([, field]) => field !== undefined)) as Partial<Defined<T>>;
