/** `pgstrata completion`: a script that makes a shell complete commands and options. */
import { Argument, Command } from 'commander';
import { completionScript, SHELLS, type Shell } from '../completion.ts';
import type { GlobalOptions } from '../context.ts';
import { printResult } from '../output.ts';

/** The command. */
export const completionCommand = (): Command =>
  new Command('completion')
    .description('Print a script that makes a shell complete commands and options.')
    .addArgument(new Argument('<shell>', 'whose completion').choices(SHELLS))
    .addHelpText('after', '\nExample:\n  source <(pgstrata completion bash)')
    .action((shell: Shell, options: GlobalOptions, command: Command) => {
      const script = completionScript(command.parent ?? command, shell);
      printResult(options.json === true, { shell, script }, script);
    });
