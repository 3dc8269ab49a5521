/** `pgstrata prices`: loads prices of assets from CSV files. */
import { basename } from 'node:path';
import { Command } from 'commander';
import { addPrices } from '../../warehouse/prices.ts';
import { configOf, withDatabase, type GlobalOptions } from '../context.ts';
import { openCsv } from '../csv-file.ts';
import { printResult } from '../output.ts';

/** The command. */
export const pricesCommand = (): Command =>
  new Command('prices')
    .description('Load prices of assets, for portfolio values and points.')
    .addHelpText('after', '\nExample:\n  pgstrata prices add prices.csv')
    .addCommand(addCommand());

const addCommand = (): Command =>
  new Command('add')
    .description(
      'Load a CSV file with the columns asset, time and usd into strata.prices, whole or not at all.',
    )
    .argument('<file>', 'CSV file (UTF-8) whose first line names the columns')
    .addHelpText(
      'after',
      '\nasset is an id, a key or a symbol; time is UTC where it names no zone; usd is the price of one whole unit, from then on.\nA price that is there already for that time is replaced.\n\nExample:\n  pgstrata prices add prices.csv',
    )
    .action(async (file: string, options: GlobalOptions) => {
      const config = await configOf(options);
      const handle = await openCsv(file);
      const added = await withDatabase(config, (pool) =>
        addPrices(pool, { source: handle.createReadStream(), fileName: basename(file) }),
      );
      printResult(
        options.json === true,
        added,
        `strata.prices: ${added.rows.toLocaleString('en')} prices of ${added.assets.toLocaleString('en')} assets`,
      );
    });
