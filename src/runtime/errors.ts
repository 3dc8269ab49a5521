/** The one error class of the project: what was wrong, where, and what to do about it. */

/**
 * What sort of trouble it is; decides the exit code and whether a retry can help.
 *
 * - `usage`: a wrong command line or argument (exit 2)
 * - `config`: a fault in `pgstrata.yaml` or the environment (exit 2)
 * - `connection`: a server could not be reached or went away
 * - `auth`: a server refused our credentials
 * - `protocol`: a Flight server said something the protocol forbids
 * - `data`: a value that PostgreSQL or the dataset cannot hold
 * - `conflict`: somebody else holds what we need
 * - `database`: PostgreSQL refused a statement
 * - `cancelled`: we were asked to stop
 * - `internal`: a broken invariant; a bug of ours
 */
export type ErrorKind =
  | 'usage'
  | 'config'
  | 'connection'
  | 'auth'
  | 'protocol'
  | 'data'
  | 'conflict'
  | 'database'
  | 'cancelled'
  | 'internal';

/** Where it happened and how to mend it; every field is printed, none may hold a secret. */
export interface ErrorDetail {
  readonly stream?: string;
  readonly network?: string;
  readonly block?: number;
  readonly column?: string;
  readonly row?: number;
  readonly value?: string;
  readonly file?: string;
  readonly line?: number;
  readonly sqlstate?: string;
  readonly grpcStatus?: string;
  /** What the user can do now, as one imperative sentence. */
  readonly remedy?: string;
}

/** Any failure pgstrata reports. `message` says what was wrong; `detail` where, and the remedy. */
export class WarehouseError extends Error {
  override readonly name = 'WarehouseError';
  readonly kind: ErrorKind;
  readonly detail: ErrorDetail;

  constructor(kind: ErrorKind, message: string, detail: ErrorDetail = {}, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.kind = kind;
    this.detail = detail;
  }
}

/** The same error with more said about where it happened; what is already known stays. */
export const withDetail = (error: WarehouseError, detail: ErrorDetail): WarehouseError =>
  new WarehouseError(error.kind, error.message, { ...detail, ...error.detail }, error.cause);

/** The text of anything thrown. */
export const messageOf = (thrown: unknown): string =>
  thrown instanceof Error ? thrown.message : String(thrown);
