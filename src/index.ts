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
export type { ConsolidationResult } from './warehouse/partitions/consolidate/old-weeks.ts';
export {
  createPartitionManager,
  type ConsolidationStatus,
  type EnsuredWeek,
  type ManagerOptions,
  type PartitionInfo,
  type PartitionManager,
} from './warehouse/partitions/manager.ts';
export {
  createBatchInserter,
  type BalanceRecord,
  type BatchInserter,
  type ExactNumber,
  type InserterOptions,
  type InsertResult,
} from './warehouse/partitions/batch-inserter.ts';
export {
  createActivityGroups,
  type Activity,
  type ActivityGroup,
} from './warehouse/partitions/activity-groups.ts';
export { type ApplyOptions, type StepEvent } from './warehouse/partitions/apply.ts';
export { planRetain, type RetainOptions } from './warehouse/partitions/retain/plan.ts';
export { applyRetain, type Retained } from './warehouse/partitions/retain/apply.ts';
export {
  applyUndoRetention,
  planUndoRetention,
  type RetentionUndone,
  type UndoRetentionOptions,
} from './warehouse/partitions/retain/undo.ts';
export {
  applyDrop,
  listHeld,
  planDrop,
  type DropOptions,
  type Dropped,
  type HeldTable,
} from './warehouse/partitions/held.ts';
export {
  applyOptimize,
  planOptimize,
  type Optimized,
  type OptimizeOptions,
} from './warehouse/partitions/optimize.ts';
export { planConsolidate, type ConsolidateOptions } from './warehouse/partitions/consolidate/plan.ts';
export {
  applyConsolidate,
  type ConsolidatedWeek,
  type ConsolidateEvent,
  type ConsolidateResult,
} from './warehouse/partitions/consolidate/apply.ts';
export {
  applyOldWeeks,
  applyUndoOldWeeks,
  planOldWeeks,
  planUndoOldWeeks,
} from './warehouse/partitions/consolidate/columnar.ts';
export { applyUndoConsolidation, planUndoConsolidation } from './warehouse/partitions/consolidate/undo.ts';
export { recoverConsolidations } from './warehouse/partitions/consolidate/recover.ts';
export { type AdoptRequest } from './warehouse/partitions/adopt/adoption.ts';
export { planAdopt, type AdoptPlan } from './warehouse/partitions/adopt/plan.ts';
export { adoptedSet, applyUndoAdopt, planUndoAdopt } from './warehouse/partitions/adopt/undo.ts';
export { recoverAdoptions, type RecoveredAdoption } from './warehouse/partitions/adopt/recover.ts';
export { applyAdopt, type AdoptOptions, type AdoptResult } from './warehouse/partitions/adopt/apply.ts';
export { watchSets } from './warehouse/partitions/watch.ts';
export { type Alert } from './warehouse/partitions/alerts.ts';
export { foldStream, type FoldOptions, type FoldResult } from './jobs/fold.ts';
export { foldWeek, type FoldWeekOptions } from './warehouse/balances.ts';
export {
  verifyBalances,
  type Difference,
  type VerifyOptions,
  type VerifyReport,
} from './warehouse/verify.ts';
export { balanceAt, rebuildBalances, type RebuildScope } from './warehouse/rebuild.ts';
export {
  addLabels,
  type AddedLabels,
  type AddLabelsOptions,
  type OnDuplicate,
} from './warehouse/labels/add.ts';
export { LABEL_TYPES, type LabelType } from './warehouse/labels/column-types.ts';
export {
  listLabels,
  removeLabels,
  type LabelColumn,
  type LabelTable,
  type LabelUse,
  type RemoveOptions,
} from './warehouse/labels/registry.ts';
export { joinLabels, type JoinedLabels, type JoinLabelsOptions } from './warehouse/labels/views.ts';
export { QUERIES, QUERY_NAMES, type QueryName } from './warehouse/analytics/catalogue.ts';
export {
  type AnalyticsQuery,
  type Column as QueryColumn,
  type Parameter as QueryParameter,
  type ParametersOf,
  type RowOf,
} from './warehouse/analytics/query.ts';
export { readParameters, type GivenParameters } from './warehouse/analytics/parameters.ts';
export { explainQuery, runQuery, type ExplainedQuery, type RunOptions } from './warehouse/analytics/run.ts';
export { touchedInWords, type TouchedPartitions } from './warehouse/analytics/touched.ts';
export { askedInWords, type AskedShards } from './warehouse/analytics/touched-shards.ts';
export { addPrices, type AddedPrices, type AddPricesOptions } from './warehouse/prices.ts';
export { runDemo, type DemoReport } from './devnet/demo.ts';
export {
  planMaintenance,
  runMaintenance,
  type MaintenanceEvent,
  type MaintenanceOptions,
  type SetPlan,
  type SetRun,
  type Verbs,
} from './jobs/maintenance.ts';
export { type MaintenanceVerb, type PlanOptions, type VerbModule } from './jobs/verbs.ts';
export { planUndo, undoWeek, type UndoPlan, type UndoScope } from './jobs/undo.ts';
export {
  startScheduler,
  type Scheduler,
  type SchedulerEvent,
  type SchedulerOptions,
  type SchedulerResult,
} from './jobs/scheduler/scheduler.ts';
export { scheduleOf, type Schedule, type VerbSchedule } from './jobs/scheduler/settings.ts';
export { type Clock as SchedulerClock } from './jobs/scheduler/clock.ts';
export { lastFailures, type MaintenanceFailure, type RunOutcome } from './warehouse/partitions/runs.ts';
export { type LockMode, type Plan, type Step, type StepLock } from './warehouse/partitions/plan.ts';
export { startPageServer, type PageOptions, type PageServer } from './server/http.ts';
