/** `pgstrata fold`: folds changes that streams with `fold: deferred` have loaded. */
import { Command } from 'commander';
import { foldStream } from '../../jobs/fold.ts';
import { listenForStop } from '../../runtime/lifecycle.ts';
import { configOf, withDatabase, type GlobalOptions } from '../context.ts';
import { printResult, table } from '../output.ts';
import { chooseStreams } from './ingest.ts';

/** The command. */
export const foldCommand = (): Command =>
  new Command('fold')
    .description('Fold loaded changes into balances, in block order up to the first gap.')
    .argument('[stream...]', 'streams of the configuration; default all')
    .addHelpText(
      'after',
      '\nOnly streams with `fold: deferred` leave anything to fold.\n\nExample:\n  pgstrata fold erc20_transfers',
    )
    .action(async (names: string[], options: GlobalOptions) => {
      const config = await configOf(options);
      const lifecycle = listenForStop((signal) =>
        process.stderr.write(`${signal}: finishing the folds in hand\n`),
      );
      try {
        const results = await withDatabase(config, async (pool) => {
          const done = [];
          for (const stream of chooseStreams(config, names))
            done.push(await foldStream({ pool, stream, signal: lifecycle.signal }));
          return done;
        });
        const text = table(
          ['stream', 'sources', 'folds'],
          results.map((result) => [result.stream, result.sources, result.folds]),
        );
        printResult(options.json === true, { streams: results }, text);
      } finally {
        lifecycle.dispose();
      }
    });
