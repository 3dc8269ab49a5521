/** Which failures may pass by themselves: one table of gRPC statuses and SQLSTATEs. What an error says is never asked. */
import { WarehouseError } from './errors.ts';

/**
 * What trying again can come to.
 *
 * - `transient`: the other side is away, busy or overtaken; it will pass, however long it takes
 * - `doubtful`: a cut connection looks like this, and so does a lasting fault: worth a bounded number of tries
 * - `token`: our credentials were refused; a token that was renewed meanwhile may be taken
 * - `permanent`: the same again would fail the same way
 */
export type Prospect = 'transient' | 'doubtful' | 'token' | 'permanent';

const GRPC: Readonly<Record<string, Prospect>> = {
  OK: 'transient', // a live stream that the server ended
  CANCELLED: 'transient', // by the server or a proxy; what we cancel ourselves is never asked about
  UNKNOWN: 'doubtful',
  INVALID_ARGUMENT: 'permanent',
  DEADLINE_EXCEEDED: 'transient',
  NOT_FOUND: 'permanent',
  ALREADY_EXISTS: 'permanent',
  PERMISSION_DENIED: 'permanent',
  RESOURCE_EXHAUSTED: 'transient',
  FAILED_PRECONDITION: 'permanent',
  ABORTED: 'transient',
  OUT_OF_RANGE: 'permanent',
  UNIMPLEMENTED: 'permanent',
  INTERNAL: 'doubtful', // what HTTP/2 says of a stream that was reset
  UNAVAILABLE: 'transient',
  DATA_LOSS: 'permanent',
  UNAUTHENTICATED: 'token',
};

const SQLSTATE: Readonly<Record<string, Prospect>> = {
  '25006': 'transient', // read_only_sql_transaction: a server that is being failed over
  '25P03': 'transient', // idle_in_transaction_session_timeout
  '25P04': 'doubtful', // transaction_timeout
  '40000': 'transient', // transaction_rollback
  '40001': 'transient', // serialization_failure
  '40003': 'transient', // statement_completion_unknown: the ledger knows
  '40P01': 'transient', // deadlock_detected
  '53000': 'doubtful', // insufficient_resources
  '53100': 'doubtful', // disk_full
  '53200': 'doubtful', // out_of_memory
  '53300': 'transient', // too_many_connections
  '55006': 'transient', // object_in_use
  '55P03': 'transient', // lock_not_available
  '57014': 'doubtful', // query_canceled, by an administrator or a statement_timeout
  '57P01': 'transient', // admin_shutdown
  '57P02': 'transient', // crash_shutdown
  '57P03': 'transient', // cannot_connect_now
  '57P05': 'transient', // idle_session_timeout
  '58000': 'doubtful', // system_error
  '58030': 'doubtful', // io_error
  XX000: 'doubtful', // internal_error
};

/** Classes of which every state that the table does not name is the same. */
const SQLSTATE_CLASS: Readonly<Record<string, Prospect>> = {
  '08': 'transient', // connection exceptions; the driver's own are given a state of this class
};

/** What trying again can come to. A failure that carries neither a gRPC status nor a SQLSTATE is permanent. */
export const prospectOf = (thrown: unknown): Prospect => {
  if (!(thrown instanceof WarehouseError)) return 'permanent';
  const { grpcStatus, sqlstate } = thrown.detail;
  if (grpcStatus !== undefined) return GRPC[grpcStatus] ?? 'permanent';
  if (sqlstate === undefined) return 'permanent';
  return SQLSTATE[sqlstate] ?? SQLSTATE_CLASS[sqlstate.slice(0, 2)] ?? 'permanent';
};
