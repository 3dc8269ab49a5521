/** What `doctor` asks of the database: version, settings, schema, rights, room, streams. */
import { sql } from 'kysely';
import { on, type Pool } from '../db/query.ts';
import { checkCluster } from './checkup-cluster.ts';
import type { Finding } from './finding.ts';
import type { Alert } from './partitions/alerts.ts';
import { watchSets } from './partitions/watch.ts';
import { isStopped, readStreams, type StreamStatus } from './status.ts';

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
  readonly standby: boolean;
  readonly autovacuum: boolean;
  readonly fsync: boolean;
  readonly max_wal_bytes: number;
  readonly connections: number;
  readonly max_connections: number;
  readonly user: string;
  readonly owner: boolean;
  readonly member_of: readonly string[];
}

/** Checkpoints that come this often write most pages twice. */
const WAL_MIN_BYTES = 1_000_000_000;

/** More of the connections than this in use, and the next process may not get one. */
const CONNECTIONS_SHARE_MAX = 0.8;

/** Looks at the database behind the pool and, where it is migrated, over its partition sets. */
export const checkDatabase = async (pool: Pool): Promise<Finding[]> => {
  const { rows } = await sql<Facts>`
    select current_setting('server_version') as version, current_setting('server_version_num')::int as version_num,
           current_setting('max_locks_per_transaction')::int as max_locks,
           to_regclass('strata.streams') is not null as migrated,
           has_database_privilege(current_database(), 'create') as may_create,
           (select count(*) from pg_roles where rolname in ('strata_reader', 'strata_loader', 'strata_maintainer')) as roles,
           extract(epoch from clock_timestamp() - ${new Date().toISOString()}::timestamptz)::float8 as clock_skew_s,
           pg_is_in_recovery() as standby, current_setting('autovacuum')::bool as autovacuum, current_setting('fsync')::bool as fsync,
           pg_size_bytes(current_setting('max_wal_size')) as max_wal_bytes,
           (select count(*)::int from pg_stat_activity where backend_type = 'client backend') as connections,
           current_setting('max_connections')::int as max_connections, current_user as "user",
           coalesce((select pg_has_role(n.nspowner, 'usage') from pg_namespace n where n.nspname = 'strata'), false) as owner,
           coalesce((select array_agg(r.rolname::text order by r.rolname) from pg_roles r
                      where r.rolname in ('strata_reader', 'strata_loader', 'strata_maintainer')
                        and pg_has_role(r.oid, 'member')), '{}') as member_of`.execute(on(pool));
  const facts = rows[0]!;
  if (!facts.migrated) return judge(facts);
  const streams = judgeStreams(await readStreams(pool));
  return [...judge(facts), await checkCluster(pool), ...streams, ...(await watchSets(pool)).map(asFinding)];
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
    facts.migrated
      ? 'Let a role with CREATEROLE run `select strata.grant_roles()`.'
      : '`pgstrata migrate` makes them, where its user may create roles.',
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
  finding(
    'server',
    facts.standby ? 'fault' : 'ok',
    facts.standby ? 'is a standby: nothing can be written' : 'takes writes',
    'Point DATABASE_URL at the primary.',
  ),
  ...(facts.migrated ? [judgeUser(facts)] : []),
  finding(
    'autovacuum',
    facts.autovacuum ? 'ok' : 'fault',
    facts.autovacuum ? 'on' : 'off: tables bloat and plans go wrong',
    'Set autovacuum = on and reload.',
  ),
  finding(
    'fsync',
    facts.fsync ? 'ok' : 'warning',
    facts.fsync ? 'on' : 'off: a crash of the machine may destroy the database',
    'Set fsync = on and reload, unless the data can be lost.',
  ),
  finding(
    'max_wal_size',
    facts.max_wal_bytes >= WAL_MIN_BYTES ? 'ok' : 'warning',
    `${Math.round(facts.max_wal_bytes / 1e6)} MB`,
    'Set it to 8GB or so and reload: while history is loaded, checkpoints should be rare, and no session may choose it. maintenance_work_mem, work_mem and synchronous_commit are chosen by the sessions that build weeks.',
  ),
  finding(
    'connections',
    facts.connections <= facts.max_connections * CONNECTIONS_SHARE_MAX ? 'ok' : 'warning',
    `${facts.connections} of ${facts.max_connections} are in use`,
    'Raise max_connections, or put a pooler in front of what else connects.',
  ),
];

/** What the user of DATABASE_URL may do: everything as the owner, else what its group roles may. */
const judgeUser = ({ user, owner, member_of }: Facts): Finding =>
  finding(
    'user',
    owner || member_of.length > 0 ? 'ok' : 'fault',
    owner
      ? `${user} owns the schema`
      : member_of.length > 0
        ? `${user} is a member of ${member_of.join(', ')}`
        : `${user} neither owns the schema nor is a member of its roles`,
    `Let the owner run: grant strata_loader to ${user} (or strata_reader, strata_maintainer).`,
  );

/** What is amiss with streams; one finding each, and one that all are well. */
const judgeStreams = (streams: readonly StreamStatus[]): Finding[] => {
  const troubles = streams.flatMap((stream): Finding[] => {
    const check = `stream ${stream.stream}${stream.network === null ? '' : ` ${stream.network}`}`;
    const { last_error: error, state, gaps, gap_blocks, quarantined } = stream;
    return [
      ...(isStopped(stream)
        ? [finding(check, 'fault', `stopped: ${error?.message ?? ''}`, error?.remedy ?? 'Start it again.')]
        : []),
      ...(state === 'lost'
        ? [
            finding(
              check,
              'warning',
              'its process has said nothing for two minutes',
              'Start `pgstrata ingest --follow` again.',
            ),
          ]
        : []),
      ...(state === 'waiting' && error !== null
        ? [
            finding(
              check,
              'warning',
              `waits after ${stream.failures} failures: ${error.message}`,
              error.remedy ?? 'It goes on by itself.',
            ),
          ]
        : []),
      ...(gaps > 0
        ? [
            finding(
              check,
              'warning',
              `${gaps} gaps of ${gap_blocks} blocks`,
              `Run \`pgstrata ingest ${stream.stream}\` with --from and --to of each.`,
            ),
          ]
        : []),
      ...(quarantined > 0
        ? [
            finding(
              check,
              'warning',
              `${quarantined} rows were refused a place`,
              'Read why: select reason, detail from strata.quarantine.',
            ),
          ]
        : []),
    ];
  });
  return troubles.length > 0 || streams.length === 0
    ? troubles
    : [finding('streams', 'ok', `${streams.length} without trouble`, '')];
};

/** A set's finding, its set named in the check. */
const asFinding = ({ set, check, ...rest }: Alert): Finding => ({
  check: set === null ? check : `${set}: ${check}`,
  ...rest,
});

const finding = (check: string, state: Finding['state'], says: string, remedy: string): Finding =>
  state === 'ok' ? { check, state, says } : { check, state, says, remedy };
