/** The library's door: everything the command line does, as functions. */
export { WarehouseError, type ErrorDetail, type ErrorKind } from './runtime/errors.ts';
export {
  loadConfig,
  parseConfig,
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
export { flightOptions } from './jobs/servers.ts';
export { batchId, batchIdText } from './chain/batch-id.ts';
export { memoryStore } from './warehouse/state/memory.ts';
export { nullStore } from './warehouse/state/null.ts';
export { postgresStore, type SourceFinder } from './warehouse/state/postgres.ts';
export {
  type Erasure,
  type InvalidSpan,
  type LedgerEntry,
  type RangeCount,
  type StateStore,
} from './warehouse/state/store.ts';
export { readStatus, type SetStatus, type StreamStatus, type WarehouseStatus } from './warehouse/status.ts';
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
