/** `pgstrata migrate`: brings the database to the newest schema. */
import { Command } from 'commander';
import { migrate, pendingMigrations } from '../../db/migrate.ts';
import { applyPolicies } from '../../warehouse/partitions/policy.ts';
import { configOf, withDatabase, type GlobalOptions } from '../context.ts';
import { printResult } from '../output.ts';

interface Options extends GlobalOptions {
  readonly dryRun?: boolean;
}

/** The command. */
export const migrateCommand = (): Command =>
  new Command('migrate')
    .description(
      'Apply the committed migrations, then the partition policies of the configuration. Safe to run at any time.',
    )
    .option('--dry-run', 'show what would be applied, change nothing')
    .addHelpText('after', '\nExample:\n  DATABASE_URL=postgres://me@db/warehouse pgstrata migrate --dry-run')
    .action(async (options: Options) => {
      const config = await configOf(options);
      await withDatabase(
        config,
        async (pool, connectionString) => {
          if (options.dryRun === true) {
            const pending = await pendingMigrations({ connectionString });
            const text =
              pending.length === 0
                ? 'nothing to apply'
                : pending.map(({ file, body }) => `-- ${file}\n${body}`).join('\n');
            printResult(options.json === true, { pending: pending.map(({ file }) => file) }, text);
            return;
          }
          const result = await migrate({
            connectionString,
            topology: config.topology,
            shards: config.shards,
          });
          const policies = await applyPolicies(pool, config.partitions);
          const done =
            result.applied.length === 0
              ? `up to date (${result.total} applied before)`
              : `applied ${result.applied.join(', ')}`;
          const text = result.topology === 'citus' ? `${done}; on a Citus cluster` : done;
          printResult(options.json === true, { ...result, policies }, text);
        },
        { migrated: false },
      );
    });
