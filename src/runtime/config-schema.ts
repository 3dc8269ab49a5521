/** What `pgstrata.yaml` may say: every field with its bounds and its default. */
import { z } from 'zod';
import { didYouMean } from './nearest.ts';
import { assetStandard } from './asset-standard.ts';
import { parallelSchema } from './parallel-config.ts';
import { endsInSettings, soleStatement } from './query-text.ts';

const identifier = z
  .string()
  .regex(/^[A-Za-z_][A-Za-z0-9_]{0,62}$/, 'must be a plain SQL name of at most 63 characters');
const tableName = z
  .string()
  .regex(
    /^([A-Za-z_][A-Za-z0-9_]{0,38}\.)?[A-Za-z_][A-Za-z0-9_]{0,38}$/,
    'must be table or schema.table, at most 39 characters each',
  );
const labelName = z
  .string()
  .regex(/^[a-z_][a-z0-9_]{0,38}$/, 'must be at most 39 small letters, digits and underscores');
const ruleText = z
  .string()
  .regex(/^\w+:[+-]\w+(@.+)?$/, 'must look like to:+amount, from:-amount or tx_from:-fee@native');
const interval = z.string().regex(/^\d+ (day|week|month|year)s?$/, 'must look like 7 days or 3 months');
const query = z
  .string()
  .trim()
  .min(1, 'must not be empty')
  .refine(
    (sql) => !endsInSettings(sql),
    'must not end in SETTINGS: pgstrata chooses between stream and batch itself',
  )
  .refine((sql) => soleStatement(sql) !== null, 'must be one statement, without a comment inside a comment');

/** A set's name takes up to 39 of the 51 bytes that a week's date leaves; strata.check_groups() knows the rest of the rule. */
const groups = z.record(
  z.string().regex(/^[a-z][a-z0-9_]{0,49}$/, 'must be lower-case letters, digits and _, a letter first'),
  z.array(z.string()).min(1),
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
  parallel: parallelSchema.optional().describe('history in partitions, several at once'),
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
  standard: assetStandard.default('erc20'),
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

const labels = z.strictObject({
  name: labelName.describe('labels of that name, as `pgstrata labels list` shows them'),
  join: z
    .enum(['left', 'inner'])
    .default('left')
    .describe('inner: rows without a label are left out, and counted'),
  on: identifier.describe("column of the stream's table that holds the account"),
  columns: z.array(identifier).min(1).optional().describe("the labels' columns to take; default all"),
  prefix: z
    .string()
    .regex(
      /^([A-Za-z_][A-Za-z0-9_]{0,22})?$/,
      'must be the beginning of a plain SQL name, at most 23 characters',
    )
    .default('')
    .describe("stands before the labels' columns in the stream's table"),
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
  reorg: z
    .enum(['delete', 'history'])
    .default('delete')
    .describe('what becomes of rows that a reorg takes back; history: they stay, with _current = false'),
  partition: z
    .strictObject({
      time: identifier,
      hash: identifier.optional(),
      modulus: z.int().min(1).max(1024).default(4),
      list: identifier.optional(),
      groups: groups.optional(),
    })
    .refine(({ hash, list }) => (hash === undefined) !== (list === undefined), {
      message: 'must have one of hash and list',
    })
    .refine(({ list, groups: given }) => (list === undefined) === (given === undefined), {
      message: 'must have groups with list, and only there',
      path: ['groups'],
    })
    .optional(),
  labels: z.array(labels).min(1).max(8).optional().describe('labels joined while rows are loaded'),
});

const snapshots = z.strictObject({
  ...streamBase,
  commit_rows: commitRows(500_000),
  load: z.literal('snapshots'),
  standard: assetStandard.default('activity'),
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
  groups: groups.optional(),
  hold: interval.optional(),
  heap_order: z.enum(['time', 'key']).optional(),
  size_alert: z.int().min(1).optional(),
  keep_runs: interval.optional(),
});

const cron = z
  .string()
  .trim()
  .regex(/^(\S+\s+){4,5}\S+$/, 'must be a cron expression of five fields, such as 0 2 * * 0');
const switched = (expression: string) => ({
  enabled: z.boolean().default(true),
  cron: cron.default(expression),
});

const schedule = z.strictObject({
  create: z.strictObject(switched('15 0 * * *')).prefault({}),
  consolidate: z
    .strictObject({
      ...switched('0 2 * * 0'),
      weeks: z.int().min(1).max(520).default(5).describe('weeks of one run'),
      after_months: z.int().min(1).max(1200).optional(),
    })
    .prefault({}),
  retain: z.strictObject(switched('0 3 * * *')).prefault({}),
  optimize: z.strictObject(switched('0 4 * * *')).prefault({}),
  poll_seconds: z.number().min(0.1).max(3600).default(10),
  jitter_seconds: z.number().min(0).max(3600).default(30),
});

/** The whole file. */
export const configSchema = z
  .strictObject({
    database: z
      .strictObject({ url: z.string().min(1).optional(), allow_plaintext: z.boolean().default(false) })
      .prefault({}),
    topology: z
      .enum(['single', 'citus', 'auto'])
      .default('auto')
      .describe('where `pgstrata migrate` puts the warehouse; auto: on a Citus cluster where there is one'),
    shards: z
      .int()
      .min(1)
      .max(1024)
      .default(32)
      .describe('of each table on a cluster; fixed by the first migration'),
    servers: z.record(z.string().min(1), server).default({}),
    streams: z
      .record(
        z.string().regex(/^[\w.-]{1,63}$/, 'must be 1 to 63 letters, digits, _ . or -'),
        z.discriminatedUnion('load', [transfers, snapshots, rows]),
      )
      .default({}),
    partitions: z.record(identifier, policy).default({}),
    schedule: schedule.prefault({}),
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
          message: `names no entry of servers: ${JSON.stringify(stream.server)}${didYouMean(stream.server, Object.keys(config.servers))}`,
        });
      }
    }
  });
