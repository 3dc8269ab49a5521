/** `pgstrata.yaml`: read, environment filled in, checked; every fault is reported at once, with its path. */
import { readFile } from 'node:fs/promises';
import { parseDocument } from 'yaml';
import { z } from 'zod';
import { WarehouseError, messageOf } from './errors.ts';
import { DEFAULT_RESILIENCE, type Resilience } from './resilience.ts';

const identifier = z
  .string()
  .regex(/^[A-Za-z_][A-Za-z0-9_]{0,62}$/, 'must be a plain SQL name of at most 63 characters');
const tableName = z
  .string()
  .regex(
    /^([A-Za-z_][A-Za-z0-9_]{0,38}\.)?[A-Za-z_][A-Za-z0-9_]{0,38}$/,
    'must be table or schema.table, at most 39 characters each',
  );
const ruleText = z
  .string()
  .regex(/^\w+:[+-]\w+(@.+)?$/, 'must look like to:+amount, from:-amount or tx_from:-fee@native');
const interval = z.string().regex(/^\d+ (day|week|month|year)s?$/, 'must look like 7 days or 3 months');
const query = z
  .string()
  .trim()
  .min(1, 'must not be empty')
  .refine(
    (sql) => !/\bSETTINGS\b[^;]*;?\s*$/i.test(sql),
    'must not end in SETTINGS: pgstrata chooses between stream and batch itself',
  );

const commitRows = (rows: number) =>
  z.int().min(1).max(5_000_000).default(rows).describe('rows of the target after which a commit is due');

const milliseconds = (most: number) => z.int().min(0).max(most).exactOptional();

// Without defaults: what a stream does not say the file says, and only then they count.
const retry = z
  .strictObject({
    tries: z.int().min(1).max(1000).exactOptional(),
    delay_ms: milliseconds(3_600_000),
    factor: z.number().min(1).max(10).exactOptional(),
    delay_max_ms: milliseconds(3_600_000),
    jitter: z.number().min(0).max(1).exactOptional(),
  })
  .optional();

const rate = z.strictObject({ delay_max_ms: milliseconds(600_000) }).optional();

const breaker = z
  .strictObject({ failures: z.int().min(1).max(1000).exactOptional(), pause_ms: milliseconds(3_600_000) })
  .optional();

const streamBase = {
  server: z.string(),
  retry,
  rate,
  breaker,
  query,
  block: identifier.default('_block_num').describe('column that holds the block number'),
  network_column: identifier
    .optional()
    .describe('column that names the network, where one query spans several'),
};

const transfers = z.strictObject({
  ...streamBase,
  commit_rows: commitRows(200_000),
  load: z.literal('transfers'),
  standard: z.string().min(1).default('erc20'),
  time: identifier.default('timestamp'),
  asset: identifier.default('token'),
  token_id: identifier.optional(),
  grain: z.enum(['hour', 'day']).default('hour').describe('period of the balance rows'),
  fold: z
    .enum(['live', 'deferred'])
    .default('live')
    .describe('live: balances commit with their changes; deferred: `pgstrata fold` follows'),
  ordinal: identifier.optional().describe('position in the block; counted in arrival order where absent'),
  rules: z.array(ruleText).min(1).max(16).default(['to:+amount', 'from:-amount']),
});

const rows = z.strictObject({
  ...streamBase,
  commit_rows: commitRows(500_000),
  load: z.literal('rows'),
  table: tableName,
  columns: z
    .record(identifier, identifier)
    .optional()
    .describe('target: source; default every column under its own name'),
  partition: z
    .strictObject({ time: identifier, hash: identifier, modulus: z.int().min(1).max(1024).default(4) })
    .optional(),
});

const snapshots = z.strictObject({
  ...streamBase,
  commit_rows: commitRows(500_000),
  load: z.literal('snapshots'),
  standard: z.string().min(1).default('activity'),
  time: identifier.default('timestamp').describe('column of the instant of the observation'),
  account: identifier.default('account'),
  asset: identifier.default('activity'),
  balance: identifier
    .optional()
    .describe('`balance` where the query gives it out, else the column of the usd value'),
  usd_value: identifier.optional().describe('`usd_value` where the query gives it out'),
  data: identifier.optional().describe('`data` where the query gives it out'),
  grain: z
    .enum(['hour', 'day'])
    .default('hour')
    .describe('period of the balance rows; its latest snapshot wins'),
  only_changes: z
    .boolean()
    .default(false)
    .describe('a balance row only where balance, usd value or data differ from the one before'),
});

const server = z.strictObject({
  url: z
    .string()
    .regex(
      /^(grpc|grpc\+tls|http|https):\/\/[^/@]+\/?$/,
      'must look like grpc://host:port or grpc+tls://host:port',
    ),
  kind: z.enum(['amp', 'flight-sql']).default('amp').describe('flight-sql: a server without block ranges'),
  token: z.string().min(1).optional(),
  token_file: z
    .string()
    .min(1)
    .optional()
    .describe('file that holds the token; read anew for each call, so that it may be renewed'),
  tls: z
    .strictObject({
      ca: z.string().optional(),
      cert: z.string().optional(),
      key: z.string().optional(),
      server_name: z.string().optional(),
    })
    .optional(),
  allow_plaintext: z.boolean().default(false),
});

const policy = z.strictObject({
  modulus: z.int().min(1).max(1024).optional(),
  premake: z.int().min(0).max(520).optional(),
  window_start: z.iso.datetime({ offset: true }).optional(),
  window_ahead: interval.optional(),
  consolidate_after: interval.nullable().optional(),
  retain: interval.nullable().optional(),
});

const configSchema = z
  .strictObject({
    database: z
      .strictObject({ url: z.string().min(1).optional(), allow_plaintext: z.boolean().default(false) })
      .prefault({}),
    servers: z.record(z.string().min(1), server).default({}),
    streams: z
      .record(
        z.string().regex(/^[\w.-]{1,63}$/, 'must be 1 to 63 letters, digits, _ . or -'),
        z.discriminatedUnion('load', [transfers, snapshots, rows]),
      )
      .default({}),
    partitions: z.record(identifier, policy).default({}),
    retry,
    rate,
    breaker,
  })
  .superRefine((config, context) => {
    for (const [name, { token, token_file }] of Object.entries(config.servers)) {
      if (token !== undefined && token_file !== undefined)
        context.addIssue({
          code: 'custom',
          path: ['servers', name],
          message: 'has both token and token_file: give one of them',
        });
    }
    for (const [name, stream] of Object.entries(config.streams)) {
      if (!Object.hasOwn(config.servers, stream.server)) {
        context.addIssue({
          code: 'custom',
          path: ['streams', name, 'server'],
          message: `names no entry of servers: ${JSON.stringify(stream.server)}`,
        });
      }
    }
  });

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
    faults.push(
      ...parsed.error.issues.map((issue) => `${issue.path.join('.') || '(top level)'}: ${issue.message}`),
    );
  }
  if (faults.length > 0 || !parsed.success) {
    const count = faults.length === 1 ? 'a fault' : `${faults.length} faults`;
    throw new WarehouseError(
      'config',
      `${file} has ${count}:\n${faults.map((fault) => `  - ${fault}`).join('\n')}`,
      {
        file,
        remedy: 'Mend the file; README.md, "Configuration", describes every field.',
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
