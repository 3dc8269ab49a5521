/** `pgstrata rebuild`: recomputes balances of keys, of a span, or of everything, from the changes. */
import { Command } from 'commander';
import { WarehouseError } from '../../runtime/errors.ts';
import { rebuildBalances } from '../../warehouse/rebuild.ts';
import { configOf, withDatabase, type GlobalOptions } from '../context.ts';
import { printResult } from '../output.ts';

interface Options extends GlobalOptions {
  readonly account?: string;
  readonly asset?: string;
  readonly from?: string;
  readonly all?: boolean;
}

/** The command. */
export const rebuildCommand = (): Command =>
  new Command('rebuild')
    .description('Recompute balances from the changes, in one transaction; the state follows.')
    .option('--account <account>', 'only of this account')
    .option('--asset <id>', 'only in this asset (its id)')
    .option('--from <instant>', 'only from this instant on')
    .option('--all', 'everything')
    .addHelpText(
      'after',
      '\nExample:\n  pgstrata rebuild --account 0x05600a362153ebcb6a22f0166c311c63584ca400 --from 2026-01-01',
    )
    .action(async (options: Options) => {
      const { account, asset, from, all } = options;
      if ((account ?? asset ?? from) === undefined && all !== true) {
        throw new WarehouseError('usage', 'nothing was chosen to rebuild', {
          remedy: 'Give --account, --asset or --from, or --all for everything.',
        });
      }
      if (asset !== undefined && !/^-?\d{1,19}$/.test(asset)) {
        throw new WarehouseError('usage', `${JSON.stringify(asset)} is no asset id`, {
          remedy: 'Give asset_id of strata.assets.',
        });
      }
      const since = from === undefined ? null : new Date(from);
      if (since !== null && Number.isNaN(since.getTime())) {
        throw new WarehouseError('usage', `${JSON.stringify(from)} is no instant`, {
          remedy: 'Write it as 2026-01-31 or 2026-01-31T12:00:00Z.',
        });
      }
      const rows = await withDatabase(await configOf(options), (pool) =>
        rebuildBalances(pool, { account: account ?? null, assetId: asset ?? null, from: since }),
      );
      printResult(options.json === true, { rows }, `rebuilt ${rows.toLocaleString('en')} balances`);
    });
