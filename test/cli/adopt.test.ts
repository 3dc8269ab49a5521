/** `pgstrata partitions adopt`, as far as a command line goes: what it plans, says and exits with. */
import { Command, CommanderError } from 'commander';
import { afterEach, beforeAll, expect, it, vi } from 'vitest';
import { adoptCommand } from '../../src/cli/commands/adopt.ts';
import { useDatabase } from '../database.ts';
import { BALANCES, fillBalances } from '../partitions/adopt.ts';

const database = useDatabase();

/** Runs it below a parent that has options of the same names, which then take them; returns what it prints. */
const run = async (...args: string[]): Promise<string> => {
  const printed: string[] = [];
  vi.stubEnv('DATABASE_URL', database.url);
  vi.spyOn(process.stderr, 'write').mockReturnValue(true);
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => printed.push(String(text)) > 0);
  const parent = new Command('partitions')
    .argument('[action]')
    .option('--json')
    .option('--dry-run')
    .exitOverride();
  await parent.addCommand(adoptCommand().exitOverride()).parseAsync(['adopt', ...args], { from: 'user' });
  return printed.join('');
};

beforeAll(async () => {
  await database.pool.query(BALANCES);
  await fillBalances(database.pool, 200);
});
afterEach(() => {
  vi.restoreAllMocks();
  vi.unstubAllEnvs();
});

const COLUMNS = ['--time', 'timestamp', '--hash', 'account_address', '--modulus', '1'];

it('plans, adopts and undoes', async () => {
  const planned = await run('account_balances', ...COLUMNS, '--dry-run');
  expect(planned).toContain('adopt public_account_balances\n   1. stage account_balances');
  expect(planned).toContain('lock: ACCESS EXCLUSIVE on "public"."account_balances" for a moment');
  const json = JSON.parse(await run('account_balances', ...COLUMNS, '--dry-run', '--json')) as {
    plan: { steps: unknown[] };
  };
  expect(json.plan.steps).toHaveLength(9);
  const adopted = JSON.parse(await run('account_balances', ...COLUMNS, '--json')) as object;
  expect(adopted).toMatchObject({
    set: 'public_account_balances',
    table: 'public.account_balances',
    rows: 200,
  });
  expect(await run('account_balances', '--undo')).toBe('public.account_balances is a plain table again\n');
});

it('wants both columns, and a modulus that can be', async () => {
  await expect(run('account_balances', '--time', 'timestamp')).rejects.toMatchObject({ exitCode: 2 });
  await expect(run('account_balances', ...COLUMNS, '--modulus', '0')).rejects.toThrow(CommanderError);
});
