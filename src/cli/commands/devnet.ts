/** `pgstrata devnet`: a simulated chain behind a real Flight server, for trying things out. */
import { Command, InvalidArgumentError } from 'commander';
import { startDevnetProcess } from '../../devnet/process.ts';
import { listenForStop } from '../../runtime/lifecycle.ts';
import type { GlobalOptions } from '../context.ts';
import { printResult } from '../output.ts';
import { blockNumber } from './ingest.ts';

interface Options extends GlobalOptions {
  readonly port: number;
  readonly seed: number;
  readonly blocks: number;
  readonly transfersPerBlock: number;
  readonly accounts: number;
  readonly blockSeconds: number;
  readonly blockInterval?: number;
  readonly replay?: string;
  readonly token?: string;
}

const port = (text: string): number => {
  const value = blockNumber(text);
  if (value > 65_535) throw new InvalidArgumentError('must be a port, 0 to 65535.');
  return value;
};

/** The command. */
export const devnetCommand = (): Command =>
  new Command('devnet')
    .description('Serve a simulated chain (or recorded blocks) over Arrow Flight, as an Amp server would.')
    .option('--port <port>', 'port to listen on, 0 for any', port, 1602)
    .option('--seed <number>', 'the same seed makes the same chain', blockNumber, 1)
    .option('--blocks <count>', 'blocks there are at the start', blockNumber, 10_000)
    .option('--transfers-per-block <count>', 'transfers in each block', blockNumber, 30)
    .option('--accounts <count>', 'accounts that trade', blockNumber, 10_000)
    .option('--block-seconds <seconds>', 'seconds between two blocks', blockNumber, 12)
    .option('--block-interval <ms>', 'make a block every so many milliseconds', blockNumber)
    .option('--replay <dir>', 'serve recorded blocks (JSON lines) instead of a simulated chain')
    .option('--token <token>', 'demand this bearer token')
    .addHelpText(
      'after',
      '\nTables: transfers, blocks, logs.\n\nExample:\n  pgstrata devnet --blocks 100000 --block-interval 1000',
    )
    .action(async (options: Options) => {
      const lifecycle = listenForStop(() => process.stderr.write('stopping\n'));
      const devnet = await startDevnetProcess({
        port: options.port,
        token: options.token,
        chain: {
          seed: options.seed,
          blocks: options.blocks,
          transfersPerBlock: options.transfersPerBlock,
          accounts: options.accounts,
          blockSeconds: options.blockSeconds,
        },
        replay: options.replay,
        blockInterval_ms: options.blockInterval,
      });
      printResult(
        options.json === true,
        { url: devnet.url, port: devnet.port },
        `listening on ${devnet.url} (Ctrl-C stops)`,
      );
      if (!lifecycle.signal.aborted) {
        await new Promise((done) => {
          lifecycle.signal.addEventListener('abort', done, { once: true });
        });
      }
      await devnet.stop();
      lifecycle.dispose();
    });
