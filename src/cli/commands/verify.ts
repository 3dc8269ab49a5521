/** `pgstrata verify`: proves that every balance equals a full recompute, or names those that do not. */
import { Command, InvalidArgumentError } from 'commander';
import { verifyBalances, type VerifyReport } from '../../warehouse/verify.ts';
import { configOf, withDatabase, type GlobalOptions } from '../context.ts';
import { EXIT_FAILED, printResult, table } from '../output.ts';

interface Options extends GlobalOptions {
  readonly sample: number;
}

/** `1/1024` as 1024. */
const sample = (text: string): number => {
  const denominator = Number(/^1\/(\d{1,7})$/.exec(text)?.[1] ?? 0);
  if (denominator < 1) throw new InvalidArgumentError('must look like 1/1024.');
  return denominator;
};

/** The command. */
export const verifyCommand = (): Command =>
  new Command('verify')
    .description('Recompute balances from the changes and compare; check sums, the state and the ledger.')
    .option('--sample <share>', 'only a share of the accounts, such as 1/1024', sample, 1)
    .addHelpText(
      'after',
      '\nReads one snapshot while loading goes on. Exits 1 on any difference.\n\nExample:\n  pgstrata verify --sample 1/1024',
    )
    .action(async (options: Options) => {
      const report = await withDatabase(await configOf(options), (pool) =>
        verifyBalances(pool, { oneIn: options.sample }),
      );
      printResult(options.json === true, report, describe(report));
      if (report.differences > 0) process.exitCode = EXIT_FAILED;
    });

const describe = (report: VerifyReport): string => {
  const share = report.one_in === 1 ? 'all accounts' : `one in ${report.one_in} accounts`;
  const compared = `compared ${share} of ${report.balances.toLocaleString('en')} balances and ${report.state_rows.toLocaleString('en')} states, the sums of ${report.assets.toLocaleString('en')} assets, the ledgers of ${report.sources} ${report.sources === 1 ? 'source' : 'sources'}`;
  if (report.differences === 0) return `${compared}: no difference`;
  const rows = report.first.map((line) => [
    line.problem,
    line.account ?? null,
    line.asset_id ?? null,
    line.timestamp ?? null,
    line.detail,
  ]);
  return `${compared}: ${report.differences.toLocaleString('en')} differences, the first of them\n\n${table(['problem', 'account', 'asset', 'period', 'detail'], rows)}\n\nrun \`pgstrata rebuild\` for these keys`;
};
