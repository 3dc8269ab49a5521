/** The command line: parses, dispatches, prints errors the way style and scripts need them. */
import { Command, CommanderError } from 'commander';
import { asWarehouseError } from '../db/errors.ts';
import { configOf, secretsOf } from './context.ts';
import { VERSION } from './version.ts';
import { describeError, errorAsJson, EXIT_MISUSE, exitCodeOf, redact, redactRecord } from './output.ts';

const ENVIRONMENT = `
Environment:
  DATABASE_URL    PostgreSQL to use; without it an embedded one runs under .pgstrata/
  PGSTRATA_LOG    trace, debug, info, warn (default), error or silent; JSON lines on stderr

Example:
  pgstrata migrate && pgstrata ingest --follow`;

/** The commands, each with the code it needs: who asks for one does not wait for the others' to be read. */
const COMMANDS: ReadonlyMap<string, () => Promise<Command>> = new Map(
  Object.entries({
    init: async () => (await import('./commands/init.ts')).initCommand(),
    migrate: async () => (await import('./commands/migrate.ts')).migrateCommand(),
    ingest: async () => (await import('./commands/ingest.ts')).ingestCommand(),
    status: async () => (await import('./commands/status.ts')).statusCommand(),
    serve: async () => (await import('./commands/serve.ts')).serveCommand(),
    fold: async () => (await import('./commands/fold.ts')).foldCommand(),
    verify: async () => (await import('./commands/verify.ts')).verifyCommand(),
    rebuild: async () => (await import('./commands/rebuild.ts')).rebuildCommand(),
    maintain: async () => (await import('./commands/maintain.ts')).maintainCommand(),
    partitions: async () => (await import('./commands/partitions.ts')).partitionsCommand(),
    schedule: async () => (await import('./commands/schedule.ts')).scheduleCommand(),
    labels: async () => (await import('./commands/labels.ts')).labelsCommand(),
    prices: async () => (await import('./commands/prices.ts')).pricesCommand(),
    query: async () => (await import('./commands/query.ts')).queryCommand(),
    devnet: async () => (await import('./commands/devnet.ts')).devnetCommand(),
    demo: async () => (await import('./commands/demo.ts')).demoCommand(),
    doctor: async () => (await import('./commands/doctor.ts')).doctorCommand(),
    'plan-topology': async () => (await import('./commands/plan-topology.ts')).planTopologyCommand(),
    completion: async () => (await import('./commands/completion.ts')).completionCommand(),
  }),
);

/** The command tree: whole, or with the named command alone. */
export const createProgram = async (only?: string): Promise<Command> => {
  const program = new Command('pgstrata')
    .description('Streams Arrow Flight into partitioned PostgreSQL and keeps exact balances.')
    .version(VERSION)
    .addHelpText('after', ENVIRONMENT)
    .exitOverride()
    .showHelpAfterError('(run with --help for the options)');
  const wanted = COMMANDS.get(only ?? '');
  for (const load of wanted === undefined ? COMMANDS.values() : [wanted]) {
    const command = await load();
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
    // Whatever begins otherwise (help, an option, a typo) is answered by the whole, and completion tells of all of it.
    const program = await createProgram(argv[2] === 'completion' ? undefined : argv[2]);
    await program.parseAsync([...argv]);
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
