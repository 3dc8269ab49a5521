/** Brings the partition policies of the configuration into partition_sets, which drives everything else. */
import { on, type Pool } from '../../db/query.ts';
import type { PartitionPolicy } from '../../runtime/config.ts';
import { WarehouseError } from '../../runtime/errors.ts';

/**
 * Applies the policies that are given; what a policy does not mention stays as the database has it.
 *
 * @returns the sets that were touched
 * @throws WarehouseError `config` for a set that does not exist
 */
export const applyPolicies = async (
  pool: Pool,
  policies: Readonly<Record<string, PartitionPolicy>>,
): Promise<string[]> => {
  for (const [set, policy] of Object.entries(policies)) {
    if (Object.keys(policy).length === 0) continue;
    const updated = await on(pool)
      .updateTable('partition_sets')
      .set(withoutUndefined(policy))
      .where('set_name', '=', set)
      .executeTakeFirst();
    if (updated.numUpdatedRows === 0n) {
      throw new WarehouseError('config', `partitions.${set}: there is no partition set of that name`, {
        remedy:
          'The managed sets are the rows of strata.partition_sets; a set of a `rows` stream appears with its first load.',
      });
    }
  }
  return Object.keys(policies);
};

type Defined<T> = { [K in keyof T]: Exclude<T[K], undefined> };

const withoutUndefined = <T extends object>(value: T): Partial<Defined<T>> =>
  Object.fromEntries(Object.entries(value).filter(([, field]) => field !== undefined)) as Partial<Defined<T>>;
