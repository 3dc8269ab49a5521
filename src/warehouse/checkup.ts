/** What `doctor` asks of the database: version, settings, schema, rights. */
import { sql } from 'kysely';
import { on, type Pool } from '../db/query.ts';
import type { Finding } from './finding.ts';
import type { Alert } from './partitions/alerts.ts';
import { watchSets } from './partitions/watch.ts';

/** The oldest supported server; `unique nulls not distinct` came with it. */
const VERSION_MIN = 150_000;

/** Below it, a session that touches a thousand leaves may run out of lock space. */
const LOCKS_MIN = 512;

interface Facts {
  readonly version: string;
  readonly version_num: number;
  readonly max_locks: number;
  readonly migrated: boolean;
  readonly may_create: boolean;
  readonly roles: number;
  readonly clock_skew_s: number;
}

/** Looks at the database behind the pool and, where it is migrated, over its partition sets. */
export const checkDatabase = async (pool: Pool): Promise<Finding[]> => {
  const { rows } = await sql<Facts>`
    select current_setting('server_version') as version, current_setting('server_version_num')::int as version_num,
           current_setting('max_locks_per_transaction')::int as max_locks,
           to_regclass('strata.streams') is not null as migrated,
           has_database_privilege(current_database(), 'create') as may_create,
           (select count(*) from pg_roles where rolname in ('strata_reader', 'strata_loader', 'strata_maintainer')) as roles,
           extract(epoch from clock_timestamp() - ${new Date().toISOString()}::timestamptz)::float8 as clock_skew_s`.execute(
    on(pool),
  );
  const facts = rows[0]!;
  return [...judge(facts), ...(facts.migrated ? (await watchSets(pool)).map(asFinding) : [])];
};

/** Clocks further apart than this make lag and sane windows misleading. */
const SKEW_MAX_S = 5;

const judge = (facts: Facts): Finding[] => [
  finding(
    'postgres',
    facts.version_num >= VERSION_MIN ? 'ok' : 'fault',
    facts.version,
    'Upgrade to PostgreSQL 15 or newer.',
  ),
  finding(
    'schema',
    facts.migrated ? 'ok' : 'warning',
    facts.migrated ? 'strata is there' : 'strata is missing',
    'Run `pgstrata migrate`.',
  ),
  finding(
    'rights',
    facts.may_create || facts.migrated ? 'ok' : 'fault',
    facts.may_create ? 'may create schemas' : 'may not create schemas',
    'Migrate as the owner of the database.',
  ),
  finding(
    'roles',
    facts.roles === 3 ? 'ok' : 'warning',
    `${facts.roles} of 3 group roles`,
    'Let a role with CREATEROLE run `select strata.grant_roles()`.',
  ),
  finding(
    'max_locks_per_transaction',
    facts.max_locks >= LOCKS_MIN ? 'ok' : 'warning',
    String(facts.max_locks),
    `Set it to ${LOCKS_MIN} or more and restart: an unpruned query locks every leaf.`,
  ),
  finding(
    'clock',
    Math.abs(facts.clock_skew_s) <= SKEW_MAX_S ? 'ok' : 'warning',
    `server is ${facts.clock_skew_s.toFixed(1)} s apart`,
    'Let both machines keep time by NTP.',
  ),
];

/** A set's finding, its set named in the check. */
const asFinding = ({ set, check, ...rest }: Alert): Finding => ({
  check: set === null ? check : `${set}: ${check}`,
  ...rest,
});

const finding = (check: string, state: Finding['state'], says: string, remedy: string): Finding =>
  state === 'ok' ? { check, state, says } : { check, state, says, remedy };
