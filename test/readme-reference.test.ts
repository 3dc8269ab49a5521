/** docs/reference.md lists what there is and nothing else. */
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { REFERENCE_FILE } from '../scripts/readme-tables.ts';
import type {
  Config,
  PartitionPolicy,
  RowsConfig,
  ServerConfig,
  SnapshotsConfig,
  TransfersConfig,
} from '../src/runtime/config.ts';
import type { ParallelConfig } from '../src/runtime/parallel-config.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const reference = readFileSync(REFERENCE_FILE, 'utf8');

type Schedule = Config['schedule'];

/** A list that is complete and has no more: the compiler refuses this file when a field comes or goes. */
const allOf = <T>(fields: Record<keyof Required<T>, true>): string[] => Object.keys(fields);

const STREAM_FIELDS = {
  server: true,
  load: true,
  query: true,
  block: true,
  network_column: true,
  commit_rows: true,
  retry: true,
  rate: true,
  breaker: true,
} as const;

describe('reference', () => {
  it('lists every field of the configuration and no other', () => {
    const warehouse = allOf<Config['database']>({ url: true, allow_plaintext: true });
    const servers = allOf<Omit<ServerConfig, 'tls'>>({
      url: true,
      kind: true,
      token: true,
      token_file: true,
      allow_plaintext: true,
    });
    const tls = allOf<NonNullable<ServerConfig['tls']>>({
      ca: true,
      cert: true,
      key: true,
      server_name: true,
    });
    const transfers = allOf<Omit<TransfersConfig, 'parallel'>>({
      ...STREAM_FIELDS,
      standard: true,
      time: true,
      asset: true,
      token_id: true,
      grain: true,
      fold: true,
      ordinal: true,
      rules: true,
    });
    const snapshots = allOf<Omit<SnapshotsConfig, 'parallel'>>({
      ...STREAM_FIELDS,
      standard: true,
      time: true,
      account: true,
      asset: true,
      balance: true,
      usd_value: true,
      data: true,
      grain: true,
      only_changes: true,
    });
    const rows = allOf<Omit<RowsConfig, 'partition' | 'labels' | 'parallel'>>({
      ...STREAM_FIELDS,
      table: true,
      columns: true,
      reorg: true,
    });
    const parallel = allOf<ParallelConfig>({
      workers: true,
      partitions: true,
      partition_blocks: true,
      target_rows: true,
      reorg_buffer: true,
      stop_on_error: true,
      bulk: true,
    });
    const labels = allOf<NonNullable<RowsConfig['labels']>[number]>({
      name: true,
      join: true,
      on: true,
      columns: true,
      prefix: true,
    });
    const partition = allOf<NonNullable<RowsConfig['partition']>>({
      time: true,
      hash: true,
      modulus: true,
      list: true,
      groups: true,
    });
    const sets = allOf<PartitionPolicy>({
      modulus: true,
      premake: true,
      window_start: true,
      window_ahead: true,
      consolidate_after: true,
      retain: true,
      groups: true,
      hold: true,
      heap_order: true,
      size_alert: true,
      keep_runs: true,
    });
    const switched = { enabled: true, cron: true } as const;
    const schedule = {
      create: allOf<Schedule['create']>(switched),
      consolidate: allOf<Schedule['consolidate']>({ ...switched, weeks: true, after_months: true }),
      retain: allOf<Schedule['retain']>(switched),
      optimize: allOf<Schedule['optimize']>(switched),
    };
    const timing = allOf<Omit<Schedule, keyof typeof schedule>>({ poll_seconds: true, jitter_seconds: true });
    const retry = allOf<NonNullable<Config['retry']>>({
      tries: true,
      delay_ms: true,
      factor: true,
      delay_max_ms: true,
      jitter: true,
    });
    const rate = allOf<NonNullable<Config['rate']>>({ delay_max_ms: true });
    const breaker = allOf<NonNullable<Config['breaker']>>({ failures: true, pause_ms: true });
    const fields = [
      ...retry.map((field) => `retry.${field}`),
      ...rate.map((field) => `rate.${field}`),
      ...breaker.map((field) => `breaker.${field}`),
      ...warehouse.map((field) => `database.${field}`),
      ...servers.map((field) => `servers.<name>.${field}`),
      ...tls.map((field) => `servers.<name>.tls.${field}`),
      ...[...transfers, ...snapshots, ...rows].map((field) => `streams.<name>.${field}`),
      ...parallel.map((field) => `streams.<name>.parallel.${field}`),
      ...partition.map((field) => `streams.<name>.partition.${field}`),
      ...labels.map((field) => `streams.<name>.labels.${field}`),
      ...sets.map((field) => `partitions.<set>.${field}`),
      ...Object.entries(schedule).flatMap(([verb, own]) => own.map((field) => `schedule.${verb}.${field}`)),
      ...timing.map((field) => `schedule.${field}`),
    ];
    const shown = [...reference.matchAll(/^\|.*$/gm)]
      .map(([line]) => line.split('|')[1] ?? '')
      .flatMap((cell) => [
        ...cell.matchAll(/`((?:database|servers|streams|partitions|schedule|retry|rate|breaker)\.[^`]+)`/g),
      ])
      .map((match) => match[1] ?? '');
    expect(shown.toSorted()).toEqual([...new Set(fields)].toSorted());
  });

  it('lists the environment variables that are read', () => {
    const named = globSync('{src,scripts,test}/**/*.ts', { cwd: ROOT })
      .flatMap((file) => [
        ...readFileSync(join(ROOT, file), 'utf8').matchAll(/\b(?:env|environment)\['(\w+)'\]/g),
      ])
      .concat([...readFileSync(join(ROOT, 'test/seed.ts'), 'utf8').matchAll(/'(PGSTRATA_\w+)'/g)])
      .map((match) => match[1] ?? '')
      .filter((name) => /^(?:PG|DATABASE_|TEST_|CONSOLIDATION_)/.test(name));
    const section = reference.split(/^## /m).find((part) => part.startsWith('Environment')) ?? '';
    const shown = [...section.matchAll(/^\| ((?:`\w+`(?:, )?)+)/gm)].flatMap((match) =>
      [...(match[1] ?? '').matchAll(/\w+/g)].map(([name]) => name),
    );
    expect(shown.toSorted()).toEqual([...new Set(named)].toSorted());
  });
});
