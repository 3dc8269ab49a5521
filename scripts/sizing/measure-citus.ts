/** What only a Citus cluster can tell: columnar bytes, the time to get there, the coordinator's part in a COPY. */
import { pipeline } from 'node:stream/promises';
import pg from 'pg';
import { from as copyFrom, to as copyTo } from 'pg-copy-streams';
import type { Client } from '../../src/db/query.ts';
import { backendCpu } from '../server-cpu.ts';

/** Its part of the rates. */
export interface CitusRates {
  readonly version: string;
  readonly changes_bytes: number;
  readonly balances_bytes: number;
  readonly coordinator: number;
  readonly columnar: number;
}

const SCHEMA = 'sizing_scratch';
const SETS = [
  {
    name: 'balance_changes',
    time: 'block_time',
    columns:
      '(account_address bytea, asset_id bigint, block_time timestamptz, block_num bigint, ordinal int, source_id smallint, delta numeric, primary key (account_address, asset_id, block_time, block_num, ordinal, source_id))',
  },
  {
    name: 'account_balances',
    time: '"timestamp"',
    columns:
      '(account_address bytea, asset_id bigint, "timestamp" timestamptz, balance numeric, change_count int, usd_value numeric, data jsonb, primary key (account_address, asset_id, "timestamp"))',
  },
] as const;

/**
 * Measures with the week that `source` holds, on a coordinator of this machine; leaves nothing behind.
 *
 * @param url a database with the extension and its workers, and the right to make tables there
 */
export const measureCitus = async (
  source: Client,
  url: string,
  say: (text: string) => void,
): Promise<CitusRates> => {
  const citus = new pg.Client(url);
  await citus.connect();
  try {
    await citus.query(`create extension if not exists citus_columnar`);
    await citus.query(`drop schema if exists ${SCHEMA} cascade`);
    await citus.query(`create schema ${SCHEMA}`);
    const cpu = await backendCpu(citus);
    const measured: { rows: number; bytes: number; copy_s: number; columnar_s: number }[] = [];
    for (const set of SETS) {
      say(`Citus: ${set.name}`);
      const table = `${SCHEMA}.${set.name}`;
      await citus.query(`create table ${table} ${set.columns}`);
      await citus.query(`select create_distributed_table($1, 'account_address', shard_count => 8)`, [table]);
      const before = cpu();
      await pipeline(
        source.query(
          copyTo(`copy (select * from strata.${set.name} order by ${set.time}) to stdout (format binary)`),
        ),
        citus.query(copyFrom(`copy ${table} from stdin (format binary)`)),
      );
      const copy_s = cpu() - before;
      const started = performance.now();
      // A closed week is sorted by key, so that an account's rows lie in one stripe.
      await citus.query(`select alter_table_set_access_method($1, 'columnar')`, [table]);
      const columnar_s = (performance.now() - started) / 1000;
      const { rows } = await citus.query<{ rows: string; bytes: string }>(
        `select (select count(*) from ${table}) as rows, citus_total_relation_size($1::regclass) as bytes`,
        [table],
      );
      measured.push({ rows: Number(rows[0]!.rows), bytes: Number(rows[0]!.bytes), copy_s, columnar_s });
    }
    const { rows } = await citus.query<{ version: string }>(
      `select extversion as version from pg_extension where extname = 'citus'`,
    );
    const [changes, balances] = measured as [(typeof measured)[0], (typeof measured)[0]];
    const round = (value: number): number => Number(value.toPrecision(3));
    return {
      version: rows[0]!.version,
      changes_bytes: round(changes.bytes / changes.rows),
      balances_bytes: round(balances.bytes / balances.rows),
      coordinator: round((changes.copy_s / changes.rows) * 1e6),
      columnar: round((changes.columnar_s / changes.rows) * 1e6),
    };
  } finally {
    await citus.query(`drop schema if exists ${SCHEMA} cascade`);
    await citus.end();
  }
};
