/** `pgstrata doctor`: looks at everything pgstrata rests on and says what to do. */
import { Command } from 'commander';
import { isLocalUrl } from '../../db/connection-url.ts';
import { asWarehouseError } from '../../db/errors.ts';
import { connectFlight } from '../../flight/client.ts';
import { flightOptions } from '../../jobs/servers.ts';
import type { Config, ServerConfig } from '../../runtime/config.ts';
import { messageOf, WarehouseError } from '../../runtime/errors.ts';
import { checkDisk } from '../../warehouse/checkup-disk.ts';
import { checkDatabase } from '../../warehouse/checkup.ts';
import type { Finding } from '../../warehouse/finding.ts';
import { configOf, withDatabase, type GlobalOptions } from '../context.ts';
import { EXIT_FAILED, printResult } from '../output.ts';

/** The oldest Node that runs the published JavaScript. */
const NODE_MAJOR_MIN = 22;

const SIGNS = { ok: '✓', warning: '!', fault: '✗' } as const;

/** The command. */
export const doctorCommand = (): Command =>
  new Command('doctor')
    .description(
      'Check Node, configuration, PostgreSQL, partitions, streams, disk and Flight servers; say what to mend.',
    )
    .addHelpText(
      'after',
      '\nExits 1 when something is at fault.\n\nExample:\n  pgstrata doctor -c pgstrata.yaml',
    )
    .action(async (options: GlobalOptions) => {
      const findings: Finding[] = [checkNode()];
      const config = await configOf(options);
      findings.push({
        check: 'configuration',
        state: 'ok',
        says: `${counted(config.streams, 'stream')}, ${counted(config.servers, 'server')}`,
      });
      findings.push(...(await checkPostgres(config)), ...(await checkServers(config)));
      const text = findings
        .map(
          ({ check, state, says, remedy }) =>
            `${SIGNS[state]} ${check}: ${says}${remedy === undefined ? '' : `\n    → ${remedy}`}`,
        )
        .join('\n');
      printResult(options.json === true, { findings }, text);
      if (findings.some((finding) => finding.state === 'fault')) process.exitCode = EXIT_FAILED;
    });

const counted = (entries: object, name: string): string => {
  const { length } = Object.keys(entries);
  return `${length} ${name}${length === 1 ? '' : 's'}`;
};

const checkNode = (): Finding => {
  const major = Number(process.versions.node.split('.')[0]);
  return major >= NODE_MAJOR_MIN
    ? { check: 'node', state: 'ok', says: process.versions.node }
    : {
        check: 'node',
        state: 'fault',
        says: process.versions.node,
        remedy: `Install Node ${NODE_MAJOR_MIN} or newer.`,
      };
};

const checkPostgres = (config: Config): Promise<readonly Finding[]> =>
  withDatabase(
    config,
    async (pool, url) => [...(await checkDatabase(pool)), await checkDisk(pool, isLocalUrl(url))],
    { migrated: false },
  ).catch((thrown: unknown) => [fault('postgres', asWarehouseError(thrown))]);

const checkServers = (config: Config): Promise<Finding[]> =>
  Promise.all(Object.entries(config.servers).map(([name, server]) => checkServer(`server ${name}`, server)));

/** A query that any Flight SQL server can refuse quickly; what counts is that it answers and lets us in. */
const PROBE = 'SELECT 1';

const checkServer = async (check: string, server: ServerConfig): Promise<Finding> => {
  try {
    const client = connectFlight(await flightOptions(server));
    try {
      await client.query(PROBE).next();
    } finally {
      client.close();
    }
  } catch (thrown) {
    // An Amp server may refuse the probe's SQL; a refusal proves that it is there.
    if (!(thrown instanceof WarehouseError) || thrown.kind !== 'protocol') return fault(check, thrown);
  }
  return { check, state: 'ok', says: `answers at ${server.url}` };
};

const fault = (check: string, thrown: unknown): Finding => ({
  check,
  state: 'fault',
  says: messageOf(thrown),
  ...(thrown instanceof WarehouseError && thrown.detail.remedy !== undefined
    ? { remedy: thrown.detail.remedy }
    : {}),
});
