/** The library's door: everything the command line does, as functions. */
export { WarehouseError, type ErrorDetail, type ErrorKind } from './runtime/errors.ts';
export {
  loadConfig,
  parseConfig,
  resilienceOf,
  type Config,
  type ServerConfig,
  type StreamConfig,
} from './runtime/config.ts';
export { startEmbedded, type EmbeddedOptions, type EmbeddedPostgres } from './db/embedded.ts';
export { createPool, type PoolOptions } from './db/pool.ts';
export {
  migrate,
  pendingMigrations,
  type MigrateOptions,
  type MigrateResult,
  type PendingMigration,
} from './db/migrate.ts';
export { copyIn, type CopyInOptions } from './db/copy-in.ts';
export { createCopyEncoder, type CopyColumn, type CopyEncoder } from './arrow/copy.ts';
export { typeTable, type PgType, type TypeTableRow } from './arrow/types.ts';
export {
  connectFlight,
  type FlightClient,
  type FlightMessage,
  type FlightOptions,
  type QueryOptions,
} from './flight/client.ts';
export { queryFlight, type QueryMessage } from './flight/query.ts';
export { ingest, type IngestEvent, type IngestOptions, type IngestResult } from './jobs/ingest.ts';
export { superviseStream, type SupervisedResult, type SuperviseOptions } from './jobs/supervise.ts';
export { createHealthLog, noHealthLog, type HealthLog } from './jobs/health.ts';
export { flightOptions } from './jobs/servers.ts';
export type { DatabaseAddress } from './db/sessions.ts';
export { prospectOf, type Prospect } from './runtime/transient.ts';
export {
  DEFAULT_RESILIENCE,
  systemClock,
  type BreakerSettings,
  type BreakerState,
  type Clock,
  type RateSettings,
  type Resilience,
  type RetrySettings,
} from './runtime/resilience.ts';
export {
  isStopped,
  readStatus,
  type SetStatus,
  type StreamStatus,
  type WarehouseStatus,
} from './warehouse/status.ts';
export type { HealthError, StreamHealth } from './warehouse/stream-health.ts';
export { accountBytes, accountText } from './warehouse/account.ts';
export { assetId, assetIdText, type AssetId, type AssetKey } from './warehouse/assets.ts';
export { applyPolicies } from './warehouse/partitions/policy.ts';
export { foldStream, type FoldOptions, type FoldResult } from './jobs/fold.ts';
export {
  verifyBalances,
  type Difference,
  type VerifyOptions,
  type VerifyReport,
} from './warehouse/verify.ts';
export { balanceAt, rebuildBalances, type RebuildScope } from './warehouse/rebuild.ts';
export { runDemo, type DemoReport } from './devnet/demo.ts';
