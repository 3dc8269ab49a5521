/** The command line: parses, dispatches, prints errors the way style and scripts need them. */
import { Command, CommanderError } from 'commander';
import { completionCommand } from './commands/completion.ts';
import { demoCommand } from './commands/demo.ts';
import { devnetCommand } from './commands/devnet.ts';
import { doctorCommand } from './commands/doctor.ts';
import { foldCommand } from './commands/fold.ts';
import { ingestCommand } from './commands/ingest.ts';
import { initCommand } from './commands/init.ts';
import { labelsCommand } from './commands/labels.ts';
import { maintainCommand } from './commands/maintain.ts';
import { migrateCommand } from './commands/migrate.ts';
import { partitionsCommand } from './commands/partitions.ts';
import { pricesCommand } from './commands/prices.ts';
import { queryCommand } from './commands/query.ts';
import { rebuildCommand } from './commands/rebuild.ts';
import { scheduleCommand } from './commands/schedule.ts';
import { serveCommand } from './commands/serve.ts';
import { statusCommand } from './commands/status.ts';
import { asWarehouseError } from '../db/errors.ts';
import { verifyCommand } from './commands/verify.ts';
import { configOf, secretsOf } from './context.ts';
import { VERSION } from './version.ts';
import { describeError, errorAsJson, EXIT_MISUSE, exitCodeOf, redact, redactRecord } from './output.ts';

const ENVIRONMENT = `
Environment:
  DATABASE_URL    PostgreSQL to use; without it an embedded one runs under .pgstrata/
  PGSTRATA_LOG    trace, debug, info, warn (default), error or silent; JSON lines on stderr

Example:
  pgstrata migrate && pgstrata ingest --follow`;

/** The whole command tree. */
export const createProgram = (): Command => {
  const program = new Command('pgstrata')
    .description('Streams Arrow Flight into partitioned PostgreSQL and keeps exact balances.')
    .version(VERSION)
    .addHelpText('after', ENVIRONMENT)
    .exitOverride()
    .showHelpAfterError('(run with --help for the options)');
  for (const command of [
    initCommand(),
    migrateCommand(),
    ingestCommand(),
    statusCommand(),
    serveCommand(),
    foldCommand(),
    verifyCommand(),
    rebuildCommand(),
    maintainCommand(),
    partitionsCommand(),
    scheduleCommand(),
    labelsCommand(),
    pricesCommand(),
    queryCommand(),
    devnetCommand(),
    demoCommand(),
    doctorCommand(),
    completionCommand(),
  ]) {
    const acts = command.commands.length === 0 || command.registeredArguments.length > 0;
    for (const verb of [...(acts ? [command] : []), ...command.commands]) {
      verb
        .exitOverride()
        .option('-c, --config <file>', 'policy file (default: pgstrata.yaml where there is one)')
        .option('--json', 'print one JSON result instead of text');
    }
    program.addCommand(command.exitOverride());
  }
  return program;
};

/** Runs a command line; returns the exit code. */
export const main = async (argv: readonly string[]): Promise<number> => {
  try {
    await createProgram().parseAsync([...argv]);
    return Number(process.exitCode ?? 0);
  } catch (thrown) {
    // Commander has printed its own message already; --help and --version come this way too.
    if (thrown instanceof CommanderError) return thrown.exitCode === 0 ? 0 : EXIT_MISUSE;
    const error = asWarehouseError(thrown);
    const secrets = await knownSecrets(argv);
    const text = argv.includes('--json')
      ? JSON.stringify(redactRecord(errorAsJson(error), secrets))
      : redact(describeError(error), secrets);
    process.stderr.write(`${text}\n`);
    return exitCodeOf(error);
  }
};

const knownSecrets = async (argv: readonly string[]): Promise<string[]> => {
  const at = argv.findIndex((argument) => argument === '-c' || argument === '--config');
  const file = at < 0 ? undefined : argv[at + 1];
  return configOf(file === undefined ? {} : { config: file }).then(secretsOf, () => []);
};
