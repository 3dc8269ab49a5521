/** Wrong variants of the fold, each a small replacement in the text of one SQL function: the tests must fail with every one. */

/** One wrong variant. */
export interface Mutation {
  readonly name: string;
  /** The function of schema strata whose text is changed. */
  readonly changes: string;
  /** What is found, exactly once unless it is a pattern with the flag g, and what takes its place. */
  readonly from: string | RegExp;
  readonly to: string;
}

/** All of them. */
export const MUTATIONS: readonly Mutation[] = [
  {
    name: 'clamp on write',
    changes: 'fold_staged',
    from: 'a.seed + p.sum_so_far',
    to: 'greatest(a.seed + p.sum_so_far, 0)',
  },
  {
    name: 'clamp in the state',
    changes: 'fold_staged',
    from: 'set balance = c.balance + excluded.balance',
    to: 'set balance = greatest(c.balance + excluded.balance, 0)',
  },
  {
    name: 'key without asset in the window',
    changes: 'fold_staged',
    from: 'so_far as (partition by account_address, asset_id order by period)',
    to: 'so_far as (partition by account_address order by period)',
  },
  {
    name: 'key without asset in the total',
    changes: 'fold_staged',
    from: 'window key as (partition by account_address, asset_id)',
    to: 'window key as (partition by account_address)',
  },
  {
    name: 'key without asset in the window of late rows',
    changes: 'find_late_priors',
    from: 'window key as (partition by account_address, asset_id order by period)',
    to: 'window key as (partition by account_address order by period)',
  },
  {
    name: 'state always trusted',
    changes: 'fold_staged',
    from: /s\."timestamp" = k\.last and \(k\.newest is null or k\.newest <= k\.first\)/,
    to: 'true',
  },
  {
    name: 'only the last period compared with the state',
    changes: 'fold_staged',
    from: ' and (k.newest is null or k.newest <= k.first)',
    to: '',
  },
  {
    name: 'a lost state is trusted',
    changes: 'heal_state',
    from: 'if strata.state_is_stale() then',
    to: 'if false then',
  },
  {
    name: 'no re-derive after delete',
    changes: 'fold_late_state',
    from: 'having min(change_count) < 0',
    to: 'having false',
  },
  {
    name: 'rows without changes stay',
    changes: 'drop_emptied_periods',
    from: 'and case when b.change_count = 0 then true end',
    to: 'and false',
  },
  {
    name: 'opening balances without changes stay',
    changes: 'drop_emptied_openings',
    from: 'if empty then',
    to: 'if false then',
  },
  {
    name: 'key without asset in the rows behind a late one',
    changes: 'fold_late_rows',
    from: 'b.account_address = l.account_address and b.asset_id = l.asset_id',
    to: 'b.account_address = l.account_address',
  },
  {
    name: 'missing upper bound',
    changes: 'fold_late_rows',
    from: 'and (l.next_period is null or b."timestamp" < l.next_period)',
    to: '',
  },
  {
    name: 'later rows not touched',
    changes: 'fold_late_rows',
    from: 'b."timestamp" >= l.period',
    to: 'b."timestamp" = l.period',
  },
  {
    name: 'late row not seeded from before the last month',
    changes: 'find_late_priors',
    from: 'exit when until <= greatest(opened, first_week);',
    to: 'exit;',
  },
  {
    name: 'late row seeded from an older row than the last before',
    changes: 'find_late_priors',
    from: "until := latest + interval '1 microsecond';",
    to: 'until := strata.week_start(earliest);',
  },
  {
    name: 'late row not seeded from the row before',
    changes: 'find_late_priors',
    from: 'order by b."timestamp" desc limit 1',
    to: 'order by b."timestamp" limit 1',
  },
  {
    name: 'double instead of numeric',
    changes: 'fold_staged',
    from: 'sum(delta) as delta',
    to: 'sum(delta::float8)::numeric as delta',
  },
  {
    name: 'overlap added twice',
    changes: 'fold_staged',
    from: 'set balance = excluded.balance, change_count',
    to: 'set balance = b.balance + excluded.balance, change_count',
  },
  {
    name: 'staging not emptied',
    changes: 'fold_deltas',
    from: '  -- A transaction may fold more than once.\n  delete from pg_temp.balance_deltas;',
    to: '',
  },
  {
    name: 'staging of late rows not emptied',
    changes: 'fold_deltas',
    from: 'delete from pg_temp.late_deltas;',
    to: '',
  },
  {
    name: 'opening balance not brought forward',
    changes: 'fold_late_deltas',
    from: 'set balance = o.balance + excluded.balance',
    to: 'set balance = o.balance',
  },
  {
    name: 'what waits is rebuilt too',
    changes: 'folded_predicate',
    from: /b\.end_block > \w+\.whole/,
    to: 'false',
  },
  {
    name: 'delete ignored',
    changes: 'take_back_changes',
    from: '-sum(g.delta), -count(*)',
    to: '0 * sum(g.delta), 0 * count(*)',
  },
  {
    name: 'deleted amount added again',
    changes: 'take_back_changes',
    from: '-sum(g.delta),',
    to: 'sum(g.delta),',
  },
  {
    name: 'block of the fork left in',
    changes: 'take_back_changes',
    from: 'c.block_num >= %2$s',
    to: 'c.block_num > %2$s',
  },
  {
    name: 'state goes back in time',
    changes: 'fold_staged',
    from: '"timestamp" = greatest(c."timestamp", excluded."timestamp")',
    to: '"timestamp" = excluded."timestamp"',
  },
  {
    name: 'state of late rows added twice',
    changes: 'fold_late_state',
    from: 'where not state_done',
    to: '',
  },
];

/** The mutation that the environment asks for: set by scripts/mutate-fold.ts, never in an ordinary run. */
export const chosenMutation = (): Mutation | null => {
  const name = process.env['PGSTRATA_MUTATION'];
  if (name === undefined || name === '') return null;
  const found = MUTATIONS.find((mutation) => mutation.name === name);
  if (found === undefined) throw new Error(`there is no mutation ${JSON.stringify(name)}`);
  return found;
};
