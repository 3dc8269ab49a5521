/** What the adoption tests adopt, also for processes that are no tests. */
import type { AdoptRequest } from '../../src/warehouse/partitions/adopt/adoption.ts';

/** The present of these tests: within the last week of the rows. */
export const PRESENT = new Date('2024-02-07T12:00:00Z');

/** How to adopt the balances; two partitions a week are made sooner than four. */
export const BALANCES_REQUEST: AdoptRequest = {
  table: 'public.account_balances',
  time: 'timestamp',
  hash: 'account_address',
  modulus: 2,
};

/** The set they become: strata has one of the table's own name. */
export const BALANCES_SET = 'public_account_balances';
