/** How many connections to PostgreSQL a stream takes, and how they are shared out. Pure. */
import type { StreamConfig } from '../runtime/config.ts';
import { WORKERS_MAX } from '../runtime/parallel-config.ts';

/** Connections of a stream alone: its lock, its transaction, and one for what is done beside it. */
export const LIVE_CONNECTIONS = 3;

/** Most workers that are tuned to, unless a number is given. */
const AUTO_WORKERS_MAX = 8;

/** Most workers that `workers` asks for. */
export const workersAsked = (workers: number | 'auto'): number =>
  workers === 'auto' ? AUTO_WORKERS_MAX : workers;

/** Connections of a stream: with workers, one more for each of them, one for the fold behind them, and for whole weeks one for keys and one that helps the fold. */
export const connectionsFor = ({ parallel, load }: StreamConfig): number => {
  if (parallel === undefined) return LIVE_CONNECTIONS;
  return LIVE_CONNECTIONS + workersAsked(parallel.workers) + (load === 'transfers' && parallel.bulk ? 3 : 1);
};

/** How the connections of a run are shared out. */
export interface ConnectionShare {
  /** Workers there are connections for. */
  readonly workers: number;
  /** Whether the fold has one of its own; if not, it takes turns with what workers do beside their transactions. */
  readonly foldApart: boolean;
  /** Whether keys of whole weeks have one of their own; if not, they take turns with the fold. */
  readonly keysApart: boolean;
  /** Whether there is one that shares the fold of a whole week; if not, the one for keys does when it is free. */
  readonly helpApart: boolean;
}

/**
 * Shares out `connections`: one holds the stream's lock, one is for what workers do beside their transactions, such as new weeks,
 * and one for the fold, one for keys and one that helps the fold, where there are enough. With those it can neither run dry nor wait for itself.
 */
export const shareConnections = (connections: number): ConnectionShare => {
  const foldApart = connections >= 5;
  const keysApart = connections >= 7;
  const helpApart = connections >= 8;
  const apart = [foldApart, keysApart, helpApart].filter(Boolean).length;
  return {
    workers: Math.max(1, Math.min(WORKERS_MAX, connections - 2 - apart)),
    foldApart,
    keysApart,
    helpApart,
  };
};
