/** `pgstrata init`: writes a policy file that says what everything in it is for. */
import { readFile, writeFile } from 'node:fs/promises';
import { Command } from 'commander';
import { WarehouseError } from '../../runtime/errors.ts';
import { DEFAULT_CONFIG, type GlobalOptions } from '../context.ts';
import { printResult } from '../output.ts';

interface Options extends GlobalOptions {
  readonly force?: boolean;
}

/** The file: what is not commented out loads the simulated chain of `pgstrata devnet`. Settings show their defaults, or an example. */
const TEMPLATE = new URL('../pgstrata.yaml', import.meta.url);

/** The command. */
export const initCommand = (): Command =>
  new Command('init')
    .description('Write a commented pgstrata.yaml to begin with; it loads what `pgstrata devnet` serves.')
    .option('--force', 'write over a file that is there')
    .addHelpText('after', '\nExample:\n  pgstrata init && pgstrata doctor')
    .action(async (options: Options) => {
      const file = options.config ?? DEFAULT_CONFIG;
      const text = await readFile(TEMPLATE, 'utf8');
      await writeFile(file, text, { flag: options.force === true ? 'w' : 'wx' }).catch((cause: unknown) => {
        throw cannotWrite(file, cause as NodeJS.ErrnoException);
      });
      printResult(
        options.json === true,
        { file },
        `${file} is written. Next: pgstrata doctor, pgstrata migrate, pgstrata ingest\nUntil it names a server of your own, \`pgstrata devnet --blocks 20000\` in another terminal is that server.`,
      );
    });

const cannotWrite = (file: string, cause: NodeJS.ErrnoException): WarehouseError =>
  cause.code === 'EEXIST'
    ? new WarehouseError('usage', `${file} is there already`, {
        file,
        remedy: 'Give another name by --config, or --force to write over it.',
      })
    : new WarehouseError('usage', `cannot write ${file}: ${cause.message}`, { file }, cause);
