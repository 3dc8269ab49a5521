/** `pgstrata plan-topology`: whether one machine is enough, how many would be, and the way there; on Citus, whether to move shards. */
import { availableParallelism, totalmem } from 'node:os';
import { Command, InvalidArgumentError, Option } from 'commander';
import { isLocalUrl } from '../../db/connection-url.ts';
import type { Pool } from '../../db/query.ts';
import { diskOf } from '../../warehouse/checkup-disk.ts';
import type { Machine } from '../../warehouse/scaling/judge.ts';
import { WAYS, type Way } from '../../warehouse/scaling/migration.ts';
import { planTopology } from '../../warehouse/scaling/read.ts';
import { configOf, withDatabase, type GlobalOptions } from '../context.ts';
import { printResult } from '../output.ts';
import { topologyText } from '../topology-text.ts';

interface Options extends GlobalOptions {
  readonly cores?: number;
  readonly memory?: number;
  readonly disk?: number;
  readonly weeks: number;
  readonly times: number;
  readonly way: Way;
  readonly steps?: boolean;
}

const positive = (text: string): number => {
  const value = Number(text);
  if (!(value > 0) || !Number.isFinite(value)) throw new InvalidArgumentError('must be a number above 0.');
  return value;
};

const UNITS: Readonly<Record<string, number>> = { MB: 1e6, GB: 1e9, TB: 1e12 };

/** `256GB` → 256,000,000,000. */
const size = (text: string): number => {
  const [, digits, unit] = /^(\d+(?:\.\d+)?) ?([MGT]B)$/.exec(text) ?? [];
  const bytes = Number(digits) * (UNITS[unit ?? ''] ?? Number.NaN);
  if (!(bytes > 0)) throw new InvalidArgumentError('must look like 256GB or 1.5TB.');
  return bytes;
};

/** The command. */
export const planTopologyCommand = (): Command =>
  new Command('plan-topology')
    .description(
      'Say when one machine is no longer enough, how many would be, and how to get there; on Citus, whether to move shards. Only reads.',
    )
    .option(
      '--cores <n>',
      "processors of the machine; default this one's, where the database is on it",
      positive,
    )
    .option('--memory <size>', 'its memory, such as 256GB', size)
    .option('--disk <size>', 'its disk, such as 15TB', size)
    .option('--weeks <n>', 'how many weeks to look ahead', positive, 52)
    .option('--times <factor>', 'how many times the rows of today to expect', positive, 1)
    .addOption(
      new Option('--way <way>', 'copy rows to the cluster, or replay them from the Flight servers')
        .choices(WAYS)
        .default('copy'),
    )
    .option('--steps', 'print the steps even where one machine is enough')
    .addHelpText(
      'after',
      '\nWorkers are reckoned to be machines like this one.\n\nExample:\n  pgstrata plan-topology --cores 32 --memory 256GB --disk 15TB --times 10',
    )
    .action(async (options: Options) => {
      const { weeks, times, way } = options;
      const plan = await withDatabase(await configOf(options), async (pool, url) => {
        const here = isLocalUrl(url) ? await thisMachine(pool) : UNKNOWN;
        const machine = {
          cores: options.cores ?? here.cores,
          memory_bytes: options.memory ?? here.memory_bytes,
          disk_bytes: options.disk ?? here.disk_bytes,
        };
        return planTopology(pool, machine, { now: new Date(), weeks, times }, way);
      });
      printResult(options.json === true, plan, topologyText(plan, options.steps === true));
    });

const UNKNOWN: Machine = { cores: null, memory_bytes: null, disk_bytes: null };

const thisMachine = async (pool: Pool): Promise<Machine> => ({
  cores: availableParallelism(),
  memory_bytes: totalmem(),
  disk_bytes: (await diskOf(pool))?.size ?? null,
});
