/** Queries about one asset: who holds it, how much there is, how it moves. */
import { ACCOUNT_COLUMN, ASSET, AT, defineQuery, FROM, PERIOD, PERIOD_COLUMN, TO } from './query.ts';

/** Queries about holders. */
export const HOLDER_QUERIES = {
  'top-holders': defineQuery({
    doc: 'The accounts that hold most of an asset, without null and burn accounts.',
    function: 'top_holders',
    parameters: [
      ASSET,
      AT,
      { name: 'limit', argument: 'holders', type: 'count', preset: '10', doc: 'how many holders' },
    ],
    columns: [
      { name: 'rank', type: 'count', doc: 'place; equal balances share one' },
      ACCOUNT_COLUMN,
      { name: 'amount', type: 'number', doc: 'what it holds, in whole units' },
      { name: 'share', type: 'number', doc: 'of what all holders have, 0 to 1' },
    ],
    example: '--asset USDX --at 2026-02-01 --limit 5',
  }),
  holders: defineQuery({
    doc: 'Holders of an asset over time, from the crossings of zero.',
    function: 'holders_over_time',
    parameters: [ASSET, FROM, TO, PERIOD],
    columns: [
      PERIOD_COLUMN,
      { name: 'entered', type: 'count', doc: 'times an account became a holder' },
      { name: 'left', source: 'left_again', type: 'count', doc: 'times one ceased to be one' },
      { name: 'holders', type: 'count', doc: 'holders at the end of the period' },
    ],
    example: '--asset USDX --from 2026-01-01 --to 2026-02-01',
  }),
  concentration: defineQuery({
    doc: 'How unevenly an asset is held: Gini, share of the top holders, Palma ratio, Nakamoto number.',
    function: 'concentration',
    parameters: [
      ASSET,
      AT,
      {
        name: 'limit',
        argument: 'top',
        type: 'count',
        preset: '10',
        doc: 'how many holders count as the top',
      },
    ],
    columns: [
      { name: 'holders', type: 'count', doc: 'accounts with a positive balance' },
      { name: 'amount', type: 'number', doc: 'what they hold together, in whole units' },
      {
        name: 'gini',
        type: 'number',
        nullable: true,
        doc: '0 when all hold alike, towards 1 when one holds all',
      },
      { name: 'top_share', type: 'number', nullable: true, doc: 'what the top holders have of all, 0 to 1' },
      {
        name: 'palma',
        type: 'number',
        nullable: true,
        doc: 'what the richest tenth has over what the poorest four tenths have',
      },
      { name: 'nakamoto', type: 'count', doc: 'how few accounts hold more than half' },
    ],
    example: '--asset USDX --at 2026-02-01',
  }),
  'size-bands': defineQuery({
    doc: 'Holders of an asset by the size of what they hold.',
    function: 'size_bands',
    parameters: [
      ASSET,
      AT,
      {
        name: 'edges',
        argument: 'edges',
        type: 'numbers',
        preset: '1,10,100,1000,10000,100000,1000000',
        doc: 'lower edges of the bands, in whole units',
      },
    ],
    columns: [
      { name: 'band', type: 'count', doc: 'number of the band, 0 below the first edge' },
      { name: 'from', source: 'from_amount', type: 'number', doc: 'its lower edge, itself included' },
      { name: 'to', source: 'to_amount', type: 'number', nullable: true, doc: 'its upper edge' },
      { name: 'holders', type: 'count', doc: 'accounts in it' },
      { name: 'amount', type: 'number', doc: 'what they hold together' },
      { name: 'share', type: 'number', nullable: true, doc: 'of what all holders have, 0 to 1' },
    ],
    example: '--asset USDX --edges 1,100,10000',
  }),
  cohorts: defineQuery({
    doc: 'Retention: accounts by the period in which an asset first reached them, and what became of them.',
    function: 'cohorts',
    parameters: [ASSET, FROM, TO, { ...PERIOD, preset: 'month' }],
    columns: [
      { name: 'cohort', type: 'instant', doc: 'period of the first change' },
      { name: 'age', type: 'count', doc: 'periods since then' },
      PERIOD_COLUMN,
      { name: 'accounts', type: 'count', doc: 'accounts of the cohort' },
      { name: 'active', type: 'count', doc: 'of these, with a change in the period' },
      { name: 'holding', type: 'count', doc: 'of these, with a positive balance at its end' },
      { name: 'active_share', type: 'number', doc: 'active / accounts' },
      { name: 'holding_share', type: 'number', doc: 'holding / accounts' },
    ],
    example: '--asset USDX --from 2026-01-01 --period week',
  }),
} as const;

/** Queries about supply and flows. */
export const FLOW_QUERIES = {
  supply: defineQuery({
    doc: 'Supply of an asset over time, minted, burned and circulating.',
    function: 'supply',
    parameters: [ASSET, FROM, TO, PERIOD],
    columns: [
      PERIOD_COLUMN,
      { name: 'supply', type: 'number', doc: 'what exists at its end, in whole units' },
      {
        name: 'minted',
        type: 'number',
        nullable: true,
        doc: 'made within it; null where changes do not tell',
      },
      { name: 'burned', type: 'number', nullable: true, doc: 'destroyed within it' },
      { name: 'circulating', type: 'number', doc: 'the supply without what burn accounts hold' },
    ],
    example: '--asset USDX --from 2026-01-01 --period week',
  }),
  flows: defineQuery({
    doc: 'What came in and went out of accounts, by asset and period: gross and net.',
    function: 'asset_flows',
    parameters: [{ ...ASSET, preset: 'all' }, FROM, TO, PERIOD],
    columns: [
      PERIOD_COLUMN,
      { name: 'asset', source: 'asset_id', type: 'asset', doc: 'id of the asset' },
      {
        name: 'inflow',
        type: 'number',
        doc: 'received by accounts that are no burn accounts, in whole units',
      },
      { name: 'outflow', type: 'number', doc: 'sent by them' },
      { name: 'gross', type: 'number', doc: 'both together' },
      { name: 'net', type: 'number', doc: 'inflow less outflow: minted less burned' },
      { name: 'accounts', type: 'count', doc: 'accounts that took part' },
      { name: 'changes', type: 'count', doc: 'balance changes' },
    ],
    example: '--asset USDX --from 2026-01-01 --to 2026-02-01',
  }),
  'label-flows': defineQuery({
    doc: 'What came in and went out of the accounts of each label.',
    function: 'label_flows',
    parameters: [
      {
        name: 'labels',
        argument: 'labels',
        type: 'text',
        doc: 'name of the labels, as `pgstrata labels list` shows it',
      },
      { name: 'column', argument: 'label_column', type: 'text', doc: 'column of the labels to group by' },
      ASSET,
      FROM,
      TO,
      PERIOD,
    ],
    columns: [
      PERIOD_COLUMN,
      {
        name: 'label',
        type: 'text',
        nullable: true,
        doc: 'value of the column; null for accounts without a label',
      },
      { name: 'inflow', type: 'number', doc: 'received, in whole units' },
      { name: 'outflow', type: 'number', doc: 'sent' },
      { name: 'gross', type: 'number', doc: 'both together' },
      { name: 'net', type: 'number', doc: 'inflow less outflow' },
      { name: 'accounts', type: 'count', doc: 'accounts that took part' },
    ],
    example: '--labels exchanges --column name --asset USDX --from 2026-01-01',
  }),
  'active-accounts': defineQuery({
    doc: 'Accounts with a change in each period, of one asset or of any.',
    function: 'active_accounts',
    parameters: [FROM, TO, PERIOD, { ...ASSET, preset: 'all' }],
    columns: [
      PERIOD_COLUMN,
      { name: 'active', type: 'count', doc: 'accounts with a change' },
      { name: 'changes', type: 'count', doc: 'changes of these' },
    ],
    example: '--from 2026-01-01 --period week',
  }),
} as const;
