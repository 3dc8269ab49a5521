/** Signals become one AbortSignal: the first Ctrl-C finishes the batch in hand, the second stops at once. */

/** A stop request that work listens to. */
export interface Lifecycle {
  /** Aborted by the first SIGINT or SIGTERM. */
  readonly signal: AbortSignal;
  /** Takes the handlers off again. */
  dispose(): void;
}

/** Exit code of a process that a second signal stopped at once: 128 + SIGINT. */
const STOPPED_AT_ONCE = 130;

/** Listens for SIGINT and SIGTERM; `onStop` is told once, when the graceful stop begins. */
export const listenForStop = (onStop: (signal: NodeJS.Signals) => void): Lifecycle => {
  const controller = new AbortController();
  const handle = (signal: NodeJS.Signals): void => {
    if (controller.signal.aborted) process.exit(STOPPED_AT_ONCE);
    onStop(signal);
    controller.abort(new Error(`stopped by ${signal}`));
  };
  process.on('SIGINT', handle);
  process.on('SIGTERM', handle);
  return {
    signal: controller.signal,
    dispose: () => {
      process.off('SIGINT', handle);
      process.off('SIGTERM', handle);
    },
  };
};
