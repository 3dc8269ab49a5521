/** The shape of a named query: what the catalogue says of it, and the TypeScript types that follow from that. */

/** What a parameter takes; its text on the command line in brackets. */
export type ParameterType =
  /** An address (`0x…` hex, bech32, account number). */
  | 'account'
  /** An asset: its id, or its key or symbol where only one has it. */
  | 'asset'
  /** A time (2026-01-31, 2026-01-31T12:00:00Z); what names no zone is UTC. */
  | 'instant'
  /** `hour`, `day`, `week` (Sunday to Sunday) or `month`, UTC. */
  | 'period'
  /** A whole number from 1 on. */
  | 'count'
  /** A length of time, such as `36 hours` or `7 days`. */
  | 'duration'
  /** Exact numbers (1,10,100). */
  | 'numbers'
  /** Points of a curve (0:0.5,1000:1 for usd:multiplier). */
  | 'curve'
  | 'text';

/** One parameter of a query. */
export interface Parameter {
  readonly name: string;
  /** Parameter of the SQL function. */
  readonly argument: string;
  readonly type: ParameterType;
  /** What it is without being given, as people would write it; undefined where it must be given. */
  readonly preset?: string;
  readonly doc: string;
}

/** What a column holds. Numbers are exact decimals as text, whatever their size; accounts are text as people write them. */
export type ColumnType = 'account' | 'asset' | 'instant' | 'count' | 'number' | 'text';

/** One column of a query's rows. */
export interface Column {
  readonly name: string;
  /** Column of the SQL function, where it is called otherwise. */
  readonly source?: string;
  readonly type: ColumnType;
  readonly nullable?: true;
  readonly doc: string;
}

/** A named query. */
export interface AnalyticsQuery {
  readonly doc: string;
  /** The function of schema `strata` that answers it. */
  readonly function: string;
  readonly parameters: readonly Parameter[];
  readonly columns: readonly Column[];
  /** Its options on the command line. */
  readonly example: string;
}

interface ParameterValues {
  readonly account: string;
  readonly asset: string;
  readonly instant: Date | string;
  readonly period: 'hour' | 'day' | 'week' | 'month';
  readonly count: number;
  readonly duration: string;
  readonly numbers: readonly string[];
  readonly curve: readonly { readonly usd: string; readonly multiplier: string }[];
  readonly text: string;
}

interface ColumnValues {
  readonly account: string;
  readonly asset: string;
  readonly instant: Date;
  readonly count: number;
  readonly number: string;
  readonly text: string;
}

/** A value of a parameter of this type. */
export type ParameterValue<T extends ParameterType = ParameterType> = ParameterValues[T];

type Needed<P extends Parameter> = P extends { readonly preset: string } ? never : P;
type Optional<P extends Parameter> = P extends { readonly preset: string } ? P : never;

/** What a query takes, as a record. */
export type ParametersOf<Q extends AnalyticsQuery> = {
  readonly [P in Needed<Q['parameters'][number]> as P['name']]: ParameterValues[P['type']];
} & {
  readonly [P in Optional<Q['parameters'][number]> as P['name']]?: ParameterValues[P['type']];
};

/** What a query gives, row by row. */
export type RowOf<Q extends AnalyticsQuery> = {
  readonly [C in Q['columns'][number] as C['name']]: C extends { readonly nullable: true }
    ? ColumnValues[C['type']] | null
    : ColumnValues[C['type']];
};

/** Keeps the literal types of a query. */
export const defineQuery = <const Q extends AnalyticsQuery>(query: Q): Q => query;

/** Parameters that several queries share. */
export const ASSET = {
  name: 'asset',
  argument: 'asset',
  type: 'asset',
  doc: 'the asset: id, key or symbol',
} as const;
export const AT = {
  name: 'at',
  argument: 'instant',
  type: 'instant',
  preset: 'the newest balances',
  doc: 'the instant to look at',
} as const;
export const FROM = {
  name: 'from',
  argument: 'from_time',
  type: 'instant',
  doc: 'the instant to begin with',
} as const;
export const TO = {
  name: 'to',
  argument: 'to_time',
  type: 'instant',
  preset: 'now',
  doc: 'the instant to end before',
} as const;
export const PERIOD = {
  name: 'period',
  argument: 'unit',
  type: 'period',
  preset: 'day',
  doc: 'hour, day, week or month (UTC)',
} as const;

/** Columns that several queries share. */
export const ACCOUNT_COLUMN = {
  name: 'account',
  source: 'account_address',
  type: 'account',
  doc: 'the account',
} as const;
export const PERIOD_COLUMN = { name: 'period', type: 'instant', doc: 'start of the period' } as const;
