/** How long to wait after a failure, when to give up, and how fast to ask: pure functions, and a clock that tests replace. */
import { setTimeout as timer } from 'node:timers/promises';
import { CircuitState, ConsecutiveBreaker, circuitBreaker, handleAll } from 'cockatiel';
import type { Prospect } from './transient.ts';

/** Tries and the waits between them. */
export interface RetrySettings {
  /** Failures in a row, without a commit between them, after which a load that is not followed gives up. */
  readonly tries: number;
  readonly delay_ms: number;
  readonly factor: number;
  readonly delay_max_ms: number;
  /** Share of a wait that is left to chance: 0.5 makes it 50 to 150 %. */
  readonly jitter: number;
}

/** How much a server may slow us down. */
export interface RateSettings {
  /** Longest wait before a query, in milliseconds. */
  readonly delay_max_ms: number;
}

/** When to stop pressing. */
export interface BreakerSettings {
  /** Failures in a row that open it. */
  readonly failures: number;
  /** Wait between two tries while it is open, in milliseconds. */
  readonly pause_ms: number;
}

/** All of it for one stream. */
export interface Resilience {
  readonly retry: RetrySettings;
  readonly rate: RateSettings;
  readonly breaker: BreakerSettings;
}

/** What holds where a policy file says nothing. */
export const DEFAULT_RESILIENCE: Resilience = {
  retry: { tries: 5, delay_ms: 2000, factor: 2, delay_max_ms: 120_000, jitter: 0.5 },
  rate: { delay_max_ms: 5000 },
  breaker: { failures: 5, pause_ms: 30_000 },
};

/** Time and chance; tests bring their own. */
export interface Clock {
  /** Milliseconds since 1970. */
  readonly now: () => number;
  /** Comes back when the time is over or the signal aborts; never fails. */
  readonly sleep: (delay_ms: number, signal?: AbortSignal) => Promise<void>;
  /** In [0, 1). */
  readonly random: () => number;
}

/** The machine's own. */
export const systemClock: Clock = {
  now: Date.now,
  sleep: (delay_ms, signal) => timer(delay_ms, undefined, { signal }).catch(() => undefined),
  random: Math.random,
};

/** Does `work` when the time is over, unless the signal aborts before. */
export const later = async (
  { sleep }: Pick<Clock, 'sleep'>,
  delay_ms: number,
  signal: AbortSignal,
  work: () => void,
): Promise<void> => {
  await sleep(delay_ms, signal);
  if (!signal.aborted) work();
};

/** Where a stream stands between two successes. */
export interface RetryState {
  /** Failures since the last commit. */
  readonly failures: number;
  /** Doubtful ones in a row. */
  readonly doubts: number;
  /** Times in a row that our credentials were refused. */
  readonly refusals: number;
}

/** The state after any progress. */
export const FRESH: RetryState = { failures: 0, doubts: 0, refusals: 0 };

/** What the load is like that is tried. */
export interface Trial {
  /** Goes on for as long as it takes, unless the failures are doubtful or permanent. */
  readonly unattended: boolean;
  /** The token is read anew for each try, so that another one may be sent next time. */
  readonly renewsToken: boolean;
}

/** Where nobody waits for the end, what is doubtful gets so many times the tries: with the breaker open, half an hour. */
const PATIENCE = 10;

/** Refused once, a token may have been an old one; refused twice, it is a wrong one. */
const REFUSALS_MAX = 1;

/** The state after a failure; null when it is to be reported instead of tried again. */
export const afterFailure = (
  state: RetryState,
  prospect: Prospect,
  { tries }: RetrySettings,
  { unattended, renewsToken }: Trial,
): RetryState | null => {
  if (prospect === 'permanent' || (prospect === 'token' && !renewsToken)) return null;
  const next = {
    failures: state.failures + 1,
    doubts: prospect === 'doubtful' ? state.doubts + 1 : 0,
    refusals: prospect === 'token' ? state.refusals + 1 : 0,
  };
  if (next.refusals > REFUSALS_MAX) return null;
  const isEnough = unattended ? next.doubts >= tries * PATIENCE : next.failures >= tries;
  return isEnough ? null : next;
};

const jittered = (delay_ms: number, jitter: number, random: () => number): number =>
  delay_ms * (1 - jitter + 2 * jitter * random());

/**
 * The wait after so many failures in a row, in milliseconds: exponential, with jitter, never above the cap.
 *
 * Not cockatiel's: its retry cannot be broken off while it waits, nor count anew after progress.
 */
export const retryDelay = (failures: number, settings: RetrySettings, random: () => number): number => {
  const { delay_ms, factor, delay_max_ms, jitter } = settings;
  const base = Math.min(delay_ms * factor ** Math.max(0, failures - 1), delay_max_ms);
  return Math.round(Math.min(jittered(base, jitter, random), delay_max_ms));
};

/** The wait of an open breaker, in milliseconds, with the jitter of the retries. */
export const breakerPause = (
  { pause_ms }: BreakerSettings,
  { jitter }: RetrySettings,
  random: () => number,
): number => Math.round(jittered(pause_ms, jitter, random));

/** What a server's answer says about our pace. */
export type Answer = 'answered' | 'throttled' | 'late';

const RATE_STEPS: Readonly<Record<Answer, (delay_ms: number) => number>> = {
  answered: (delay_ms) => (delay_ms < 1 ? 0 : delay_ms * 0.9),
  throttled: (delay_ms) => delay_ms * 2 + 1000,
  late: (delay_ms) => delay_ms * 1.5 + 500,
};

/** The wait before the next query, in milliseconds, from the one before the last and how that was answered. */
export const nextRateDelay = (delay_ms: number, answer: Answer, { delay_max_ms }: RateSettings): number =>
  Math.min(RATE_STEPS[answer](delay_ms), delay_max_ms);

/** The pace of the queries to one server; several workers may share it. */
export interface Rate {
  readonly delay_ms: () => number;
  readonly note: (answer: Answer) => void;
}

/** A pace that begins without any wait; `onChange` is told of each slowing down. */
export const createRate = (settings: RateSettings, onSlower: (delay_ms: number) => void): Rate => {
  let delay_ms = 0;
  return {
    delay_ms: () => Math.round(delay_ms),
    note: (answer) => {
      const before = delay_ms;
      delay_ms = nextRateDelay(delay_ms, answer, settings);
      if (delay_ms > before) onSlower(Math.round(delay_ms));
    },
  };
};

/** What a circuit breaker is doing. */
export type BreakerState = 'closed' | 'open' | 'half-open';

const STATES: Readonly<Record<CircuitState, BreakerState>> = {
  [CircuitState.Closed]: 'closed',
  [CircuitState.Open]: 'open',
  [CircuitState.HalfOpen]: 'half-open',
  [CircuitState.Isolated]: 'open',
};

/** A circuit breaker of one stream. */
export interface Breaker {
  readonly state: () => BreakerState;
  /** Counts a try by its proof: that it got on, or why it failed. Never fails itself. */
  readonly watch: (proof: Promise<unknown>) => Promise<void>;
}

/** A closed breaker; it opens after `failures` tries in a row that came to nothing, and one that got on closes it. */
export const createBreaker = (
  { failures }: BreakerSettings,
  onChange: (state: BreakerState) => void,
): Breaker => {
  const policy = circuitBreaker(handleAll, {
    breaker: new ConsecutiveBreaker(failures),
    // How long it stays open is our clock's to say: whoever tries again has waited already.
    halfOpenAfter: Number.NEGATIVE_INFINITY,
  });
  policy.onStateChange((state) => onChange(STATES[state]));
  return {
    state: () => STATES[policy.state],
    watch: (proof) =>
      policy
        .execute(() => proof)
        .then(
          () => undefined,
          () => undefined,
        ),
  };
};
