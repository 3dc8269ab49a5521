/** COPY FROM STDIN with our own framing: each frame reaches the socket in one write, uncopied, with back-pressure. */
import { setImmediate as nextTurn } from 'node:timers/promises';

import type { Client, ClientBase, Connection } from 'pg';

import { WarehouseError, messageOf } from '../runtime/errors.ts';
import { cancelStatement } from './cancel.ts';
import { asWarehouseError } from './errors.ts';

/** How long a server may take not a single byte: it may wait for a lock, but not for ever. */
const STALL_LIMIT_MS = 600_000;
/** How long a server may stay silent after CopyFail before we cancel the statement, and after that before we hang up. */
const CANCEL_AFTER_MS = 250;
const HANG_UP_AFTER_MS = 5_000;
/** Bytes written before other work of this process gets its turn, an error from the server included. */
const TURN_BYTES = 1024 * 1024;
/** Bytes written ahead of what the socket has taken: 100 ms of what PostgreSQL takes at its fastest. */
const AHEAD_BYTES = 16 * 1024 * 1024;
/** The server's own bound is 1 GiB; a frame of that size would be a mistake long before. */
const MAX_FRAME_BYTES = 256 * 1024 * 1024;

const COPY_DATA = 0x64; // 'd'
const COPY_DONE = Buffer.from([0x63, 0, 0, 0, 4]); // 'c'
const COPY_FAIL = Buffer.from('f\0\0\0\x18stopped by pgstrata\0', 'latin1'); // length 4 + 20

/** How a COPY may be stopped. */
export interface CopyInOptions {
  /** Stops it: the server undoes the statement, and the connection stays usable. */
  readonly signal?: AbortSignal | undefined;
  /** Told about each frame that the system has taken: its memory is free again. */
  readonly onSent?: ((frame: Buffer) => void) | undefined;
  /** How long the server may take nothing, in milliseconds; ten minutes. */
  readonly stallMs?: number | undefined;
}

/** What the server may do with a COPY: ask for data, finish, or fail. */
interface CopyEvents {
  readonly onReady: () => void;
  readonly onCopied: (rows: number) => void;
  readonly onFailed: (error: unknown) => void;
}

/** The statement as `pg` drives it: it calls `submit`, then a handler for each message of the server. */
const copyStatement = (sql: string, { onReady, onCopied, onFailed }: CopyEvents) => {
  let rows = 0;
  let copying = false;
  return {
    submit: (connection: Connection): void => connection.query(sql),
    handleCopyInResponse: (): void => {
      copying = true;
      onReady();
    },
    handleCommandComplete: ({ text }: { readonly text: string }): void => {
      rows = Number(/^COPY (?<rows>\d+)/u.exec(text)?.groups?.['rows'] ?? 0);
    },
    handleReadyForQuery: (): void => {
      if (copying) onCopied(rows);
      else onFailed(new WarehouseError('internal', 'This statement is no COPY … FROM STDIN.'));
    },
    handleError: onFailed,
    // Answers to a statement that is no COPY; the ReadyForQuery after them says so.
    handleRowDescription: (): void => undefined,
    handleDataRow: (): void => undefined,
    handleCopyData: (): void => undefined,
    handleEmptyQuery: (): void => undefined,
  };
};

const refuseTornFrame = (frame: Buffer): void => {
  const sound = frame.length >= 5 && frame[0] === COPY_DATA && frame.readInt32BE(1) === frame.length - 1;
  if (sound && frame.length <= MAX_FRAME_BYTES) return;
  throw new WarehouseError('internal', `A frame of ${frame.length} bytes is not one CopyData message.`);
};

/** Waits for `promise`, but not longer than until `signal` aborts; then throws its reason. */
const unless = <T>(signal: AbortSignal, promise: Promise<T>): Promise<T> => {
  if (signal.aborted) return Promise.reject(signal.reason as Error);
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason as Error);
    signal.addEventListener('abort', onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
};

/**
 * Writes frames ahead of what the socket has taken, up to {@link AHEAD_BYTES}: the server must never wait while this
 * process is busy with other rows for some dozen milliseconds.
 */
const createFrameWriter = (
  stream: Connection['stream'],
  stop: AbortSignal,
  { stallMs = STALL_LIMIT_MS, onSent }: CopyInOptions,
) => {
  let ahead = 0;
  let failure: unknown;
  let wake = (): void => undefined;
  /** Waits until there is room; gives up when nothing at all is taken for `stallMs`. */
  const room = (): Promise<void> =>
    new Promise((resolve, reject) => {
      const stalled = (): void => {
        const error = new WarehouseError(
          'connection',
          `The server took no data for ${stallMs} ms in a COPY.`,
          {
            remedy: 'Look in pg_stat_activity for what it waits for.',
          },
        );
        settle(() => reject(error));
        stream.destroy(error);
      };
      let timer = setTimeout(stalled, stallMs);
      const settle = (act: () => void): void => {
        clearTimeout(timer);
        stop.removeEventListener('abort', onStop);
        wake = () => undefined;
        act();
      };
      const onStop = (): void => settle(() => reject(stop.reason as Error));
      stop.addEventListener('abort', onStop, { once: true });
      wake = () => {
        clearTimeout(timer);
        if (failure !== undefined) settle(() => reject(asWarehouseError(failure)));
        else if (ahead <= AHEAD_BYTES) settle(resolve);
        else timer = setTimeout(stalled, stallMs);
      };
    });
  return async (frame: Buffer): Promise<void> => {
    if (failure !== undefined) throw asWarehouseError(failure);
    ahead += frame.length;
    stream.write(frame, (error) => {
      failure ??= error ?? undefined;
      ahead -= frame.length;
      if (!error) onSent?.(frame);
      wake();
    });
    if (ahead > AHEAD_BYTES) await room();
  };
};

type Source = AsyncIterator<Buffer> | Iterator<Buffer>;

/** Moves frames from the source to the socket until the source ends or `stop` aborts. */
const pump = async (
  stream: Connection['stream'],
  source: Source,
  stop: AbortSignal,
  options: CopyInOptions,
): Promise<void> => {
  const write = createFrameWriter(stream, stop, options);
  let sinceTurn = 0;
  for (;;) {
    const pulled = source.next();
    const { done, value } = 'then' in pulled ? await unless(stop, pulled) : pulled;
    if (done === true) return;
    refuseTornFrame(value);
    await write(value);
    sinceTurn += value.length;
    if (sinceTurn < TURN_BYTES) continue;
    sinceTurn = 0;
    await nextTurn();
    stop.throwIfAborted();
  }
};

/**
 * Makes the server undo the COPY; hangs up on one that does not answer even to a cancel request.
 *
 * @returns the rows, if it had finished before it heard of this
 */
const giveUp = async (
  client: ClientBase,
  stream: Connection['stream'],
  copied: Promise<number>,
): Promise<number | undefined> => {
  let cancelled: Promise<void> | undefined;
  const cancelling = setTimeout(() => {
    cancelled = cancelStatement(client);
  }, CANCEL_AFTER_MS);
  const hangingUp = setTimeout(() => stream.destroy(), CANCEL_AFTER_MS + HANG_UP_AFTER_MS);
  const rows = await copied.catch(() => undefined);
  clearTimeout(cancelling);
  clearTimeout(hangingUp);
  await cancelled; // or it might hit the session's next statement
  return rows;
};

const openSource = (frames: Iterable<Buffer> | AsyncIterable<Buffer>): Source =>
  Symbol.asyncIterator in frames ? frames[Symbol.asyncIterator]() : frames[Symbol.iterator]();

/** Lets the source free what it holds; one still busy with a frame does so when it is done with that. */
const closeSource = async (source: Source): Promise<void> => {
  await source.return?.();
};

/**
 * Runs `COPY … FROM STDIN` on the client, fed with frames. A frame is one whole CopyData message (`d`, int32 length,
 * payload), which is sent uncopied: its buffer must not be filled anew before `onSent`.
 *
 * However it fails, the source is asked for nothing more, and, unless the connection itself broke, the client may be
 * used again (inside a transaction: rolled back first).
 *
 * @param sql a COPY … FROM STDIN statement
 * @returns the rows copied
 * @throws the source's own error; `cancelled` after an abort; the server's error with row and column; `connection`
 */
export const copyIn = async (
  client: ClientBase,
  sql: string,
  frames: Iterable<Buffer> | AsyncIterable<Buffer>,
  options: CopyInOptions = {},
): Promise<number> => {
  const { signal } = options;
  if (signal?.aborted === true) throw cancelled(signal);
  const { stream } = (client as Client).connection;
  const ready = Promise.withResolvers<void>();
  const copied = Promise.withResolvers<number>();
  copied.promise.catch(() => undefined); // a failure is heard of through `failed`, sooner
  const failed = new AbortController(); // the server refused, or the connection broke
  const stop = new AbortController(); // that, or the caller's signal: nothing more may be written
  const onFailed = (error: unknown): void => {
    failed.abort(error);
    stop.abort(error);
    copied.reject(error);
  };
  const onAbort = (): void => stop.abort(signal?.reason);
  signal?.addEventListener('abort', onAbort, { once: true });
  client.query(copyStatement(sql, { onReady: ready.resolve, onCopied: copied.resolve, onFailed }));
  const source = openSource(frames);
  try {
    await unless(stop.signal, ready.promise);
    await pump(stream, source, stop.signal, options);
    stream.write(COPY_DONE);
    return await unless(stop.signal, copied.promise);
  } catch (error) {
    closeSource(source).catch(() => undefined);
    if (failed.signal.aborted) throw asWarehouseError(failed.signal.reason);
    // Sent before the server asked for data it would be ignored; sent after CopyDone it is.
    void ready.promise.then(() => stream.writable && stream.write(COPY_FAIL));
    const rows = await giveUp(client, stream, copied.promise);
    if (rows !== undefined) return rows; // the caller's signal came too late: say what is
    throw signal !== undefined && isAborted(signal) ? cancelled(signal) : error;
  } finally {
    signal?.removeEventListener('abort', onAbort);
  }
};

/** A function, because the compiler takes a signal once seen for one that stays as it was. */
const isAborted = (signal: AbortSignal): boolean => signal.aborted;

const cancelled = (signal: AbortSignal): WarehouseError =>
  signal.reason instanceof WarehouseError
    ? signal.reason
    : new WarehouseError('cancelled', `The COPY was stopped: ${messageOf(signal.reason)}`, {}, signal.reason);
