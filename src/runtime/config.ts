/** `pgstrata.yaml`: read, environment filled in, checked; every fault is reported at once, with its path. */
import { readFile } from 'node:fs/promises';
import { parseDocument } from 'yaml';
import type { z } from 'zod';
import { faultsOf } from './config-faults.ts';
import { configSchema } from './config-schema.ts';
import { WarehouseError, messageOf } from './errors.ts';
import { DEFAULT_RESILIENCE, type Resilience } from './resilience.ts';

/** The whole policy file, checked and with defaults filled in. */
export type Config = z.infer<typeof configSchema>;
/** One Flight server. */
export type ServerConfig = Config['servers'][string];
/** One stream; `load` tells which kind. */
export type StreamConfig = Config['streams'][string];
/** A stream whose rows become signed balance changes. */
export type TransfersConfig = Extract<StreamConfig, { load: 'transfers' }>;
/** A stream whose rows are observed balances. */
export type SnapshotsConfig = Extract<StreamConfig, { load: 'snapshots' }>;
/** A stream whose rows go into a table as they are. */
export type RowsConfig = Extract<StreamConfig, { load: 'rows' }>;
/** How one partition set is cut, kept and consolidated; absent fields stay as the database has them. */
export type PartitionPolicy = Config['partitions'][string];

/** How a stream bears with failures: its own settings, and those of the whole file where it has none. */
export const resilienceOf = (config: Config, stream: string): Resilience => {
  const own = config.streams[stream];
  return {
    retry: { ...DEFAULT_RESILIENCE.retry, ...config.retry, ...own?.retry },
    rate: { ...DEFAULT_RESILIENCE.rate, ...config.rate, ...own?.rate },
    breaker: { ...DEFAULT_RESILIENCE.breaker, ...config.breaker, ...own?.breaker },
  };
};

/**
 * Checks a configuration given as text.
 *
 * @param text YAML; `${NAME}` takes an environment variable, `${NAME:-default}` with a default.
 * @throws WarehouseError `config` listing every fault with its path.
 */
export const parseConfig = (text: string, environment: NodeJS.ProcessEnv, file = 'pgstrata.yaml'): Config => {
  const document = parseDocument(text, { prettyErrors: true });
  // The first line alone: behind it comes the faulty piece of the file, which may hold a token.
  const faults = document.errors.map((error) => (error.message.split('\n')[0] ?? '').replace(/:$/, ''));
  const filled =
    faults.length > 0 ? {} : fillEnvironment(plainValue(document, faults) ?? {}, environment, [], faults);
  const parsed = configSchema.safeParse(filled);
  if (document.errors.length === 0 && !parsed.success) {
    faults.push(...parsed.error.issues.flatMap((issue) => faultsOf(issue, configSchema, filled)));
  }
  if (faults.length > 0 || !parsed.success) {
    const count = faults.length === 1 ? 'a fault' : `${faults.length} faults`;
    throw new WarehouseError(
      'config',
      `${file} has ${count}:\n${faults.map((fault) => `  - ${fault}`).join('\n')}`,
      {
        file,
        remedy: 'Mend the file; docs/reference.md, "Configuration", describes every field.',
      },
    );
  }
  return parsed.data;
};

/** Reads and checks the configuration file. A missing file is an empty configuration only when it was not asked for by name. */
export const loadConfig = async (
  file: string,
  asked: boolean,
  environment: NodeJS.ProcessEnv,
): Promise<Config> => {
  const text = await readFile(file, 'utf8').catch((thrown: unknown) => {
    const code = (thrown as { code?: string }).code;
    if (code === 'ENOENT' && !asked) return '';
    throw new WarehouseError('config', `cannot read ${file}: ${messageOf(thrown)}`, {
      file,
      remedy: 'Give the right path with --config.',
    });
  });
  return parseConfig(text, environment, file);
};

/** What the document holds; an alias without its anchor shows only here. */
const plainValue = (document: ReturnType<typeof parseDocument>, faults: string[]): unknown => {
  try {
    return document.toJS();
  } catch {
    faults.push('an alias (*name) stands for nothing: write values that begin with * in quotes');
    return {};
  }
};

const fillEnvironment = (
  value: unknown,
  environment: NodeJS.ProcessEnv,
  path: readonly string[],
  faults: string[],
): unknown => {
  if (typeof value === 'string') {
    return value.replaceAll(
      /\$\{(\w+)(?::-([^}]*))?\}/g,
      (_whole, name: string, fallback: string | undefined) => {
        const found = environment[name] ?? fallback;
        if (found === undefined) faults.push(`${path.join('.')}: environment variable ${name} is not set`);
        return found ?? `\${${name}}`;
      },
    );
  }
  if (Array.isArray(value))
    return value.map((item, index) => fillEnvironment(item, environment, [...path, String(index)], faults));
  if (value !== null && typeof value === 'object') {
    return Object.fromEntries(
      Object.entries(value).map(([key, item]) => [
        key,
        fillEnvironment(item, environment, [...path, key], faults),
      ]),
    );
  }
  return value;
};
