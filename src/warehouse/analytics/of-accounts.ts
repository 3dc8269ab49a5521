/** Queries about accounts: what they hold, held, and earned by holding. */
import { ACCOUNT_COLUMN, ASSET, AT, defineQuery, FROM, PERIOD, PERIOD_COLUMN, TO } from './query.ts';

const ACCOUNT = { name: 'account', argument: 'account', type: 'account', doc: 'the account' } as const;
const ANY_ACCOUNT = { ...ACCOUNT, preset: 'all' } as const;
const ANY_ASSET = { ...ASSET, preset: 'all' } as const;
const ASSET_COLUMN = { name: 'asset', source: 'asset_id', type: 'asset', doc: 'id of the asset' } as const;
const NOW = { ...AT, preset: 'now' } as const;

/** Queries about accounts. */
export const ACCOUNT_QUERIES = {
  balances: defineQuery({
    doc: 'Every balance but zeros as of an instant, exact to it; of all accounts or one, in all assets or one.',
    function: 'balances_at',
    parameters: [ANY_ACCOUNT, ANY_ASSET, AT],
    columns: [
      ACCOUNT_COLUMN,
      ASSET_COLUMN,
      { name: 'balance', type: 'number', doc: 'in the smallest units' },
    ],
    example: '--account 0x418de5c2e64f34d612001ab9deffd8ec7d569c79 --at 2026-02-01T12:00:00Z',
  }),
  history: defineQuery({
    doc: 'Balance of an account in an asset at the end of each period, carried forward over periods without a change.',
    function: 'balance_series',
    parameters: [ACCOUNT, ASSET, FROM, TO, PERIOD],
    columns: [
      PERIOD_COLUMN,
      { name: 'amount', type: 'number', doc: 'at its end, in whole units' },
      { name: 'balance', type: 'number', doc: 'the same in the smallest units' },
      { name: 'changes', source: 'change_count', type: 'count', doc: 'changes within it' },
    ],
    example: '--account 0x418de5c2e64f34d612001ab9deffd8ec7d569c79 --asset USDX --from 2026-01-01',
  }),
  portfolio: defineQuery({
    doc: 'What an account holds and what that was worth, at the last prices known then; unpriced assets told apart.',
    function: 'portfolio_at',
    parameters: [
      ACCOUNT,
      NOW,
      {
        name: 'max-age',
        argument: 'max_age',
        type: 'duration',
        preset: 'any',
        doc: 'age beyond which a price is stale',
      },
    ],
    columns: [
      ASSET_COLUMN,
      { name: 'symbol', source: 'asset', type: 'text', doc: 'its symbol, or its key' },
      { name: 'amount', type: 'number', doc: 'in whole units' },
      { name: 'price', type: 'number', nullable: true, doc: 'USD for one' },
      { name: 'priced_at', type: 'instant', nullable: true, doc: 'time of the price' },
      { name: 'usd_value', type: 'number', nullable: true, doc: 'null unless priced' },
      { name: 'status', type: 'text', doc: 'priced, stale or unpriced' },
    ],
    example: '--account 0x418de5c2e64f34d612001ab9deffd8ec7d569c79 --at 2026-02-01 --max-age "2 days"',
  }),
  change: defineQuery({
    doc: 'Balances, and how they changed over the last 24 hours, 7 days and 30 days.',
    function: 'balance_change',
    parameters: [ANY_ACCOUNT, ANY_ASSET, NOW],
    columns: [
      ACCOUNT_COLUMN,
      ASSET_COLUMN,
      { name: 'amount', type: 'number', doc: 'at that instant, in whole units' },
      { name: 'change_24h', type: 'number', doc: 'gained since 24 hours before' },
      { name: 'change_7d', type: 'number', doc: 'gained since 7 days before' },
      { name: 'change_30d', type: 'number', doc: 'gained since 30 days before' },
    ],
    example: '--asset USDX --at 2026-02-01',
  }),
  'time-weighted': defineQuery({
    doc: 'Average balance of accounts over a span, weighted with the time it was held.',
    function: 'time_weighted_balances',
    parameters: [ASSET, FROM, TO, ANY_ACCOUNT],
    columns: [
      ACCOUNT_COLUMN,
      { name: 'average', type: 'number', doc: 'average amount, in whole units' },
      { name: 'opening', type: 'number', doc: 'what was brought into the span' },
      { name: 'closing', type: 'number', doc: 'what was there at its end' },
      { name: 'changes', type: 'count', doc: 'changes within it' },
    ],
    example: '--asset USDX --from 2026-01-01 --to 2026-02-01',
  }),
  'activity-points': defineQuery({
    doc: 'Points of an incentive programme: time-weighted USD by activity, times a multiplier curve, in bands.',
    function: 'activity_points',
    parameters: [
      FROM,
      TO,
      {
        name: 'standard',
        argument: 'standard',
        type: 'text',
        preset: 'activity',
        doc: 'standard of the assets that are activities',
      },
      {
        name: 'curve',
        argument: 'curve',
        type: 'curve',
        preset: '0:1',
        doc: 'usd:multiplier points of the curve, such as 0:0.5,1000:1,50000:3',
      },
      {
        name: 'bands',
        argument: 'bands',
        type: 'numbers',
        preset: 'none',
        doc: 'lower edges of bands of points',
      },
    ],
    columns: [
      ACCOUNT_COLUMN,
      ASSET_COLUMN,
      { name: 'activity', type: 'text', doc: 'its symbol, or its key' },
      { name: 'usd_average', type: 'number', doc: 'time-weighted USD' },
      { name: 'valued_share', type: 'number', doc: 'share of the time for which a USD value was known' },
      { name: 'multiplier', type: 'number', doc: 'what the curve gives for the account in all activities' },
      { name: 'points', type: 'number', doc: 'usd_average times multiplier' },
      { name: 'band', type: 'count', doc: "the account's band by its points in all, 0 below the first" },
    ],
    example: '--from 2026-01-04 --to 2026-01-11 --curve 0:0.5,1000:1,50000:3 --bands 100,1000',
  }),
} as const;
