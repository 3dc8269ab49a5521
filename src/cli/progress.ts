/** Progress of long work on stderr: one live line on a terminal, a plain line every ten seconds elsewhere. */

/** Where the work stands. */
export interface ProgressState {
  readonly label: string;
  readonly done: number;
  /** Null where the end is not known. */
  readonly total: number | null;
  readonly unit: string;
  /** A second count beside the first, such as rows beside blocks; null where there are none to count. */
  readonly rows: number | null;
  /** What each worker is at; left out where there is but one. */
  readonly notes?: readonly string[];
}

/** A progress display. */
export interface Progress {
  update(state: ProgressState): void;
  /** Prints a line above the display. */
  say(text: string): void;
  /** Takes the display away. */
  finish(): void;
}

const TERMINAL_INTERVAL_MS = 100;
const PLAIN_INTERVAL_MS = 10_000;
const BAR_WIDTH = 24;

/** A display on `stream`; `now` in milliseconds. */
export const createProgress = (stream: NodeJS.WriteStream, now: () => number): Progress => {
  const interval = stream.isTTY ? TERMINAL_INTERVAL_MS : PLAIN_INTERVAL_MS;
  const started = new Map<string, { readonly at: number; readonly done: number; readonly rows: number }>();
  let last = stream.isTTY ? 0 : now();
  let shown = false;
  const wipe = (): void => {
    if (shown) stream.write('\r\u001b[K');
    shown = false;
  };
  return {
    update: (state) => {
      const first = started.get(state.label) ?? { at: now(), done: state.done, rows: state.rows ?? 0 };
      started.set(state.label, first);
      if (now() - last < interval) return;
      last = now();
      const text = progressLine(
        state,
        state.done - first.done,
        (state.rows ?? 0) - first.rows,
        (now() - first.at) / 1000,
      );
      if (!stream.isTTY) {
        stream.write(`${text}\n`);
        return;
      }
      wipe();
      stream.write(text.slice(0, Math.max(20, stream.columns - 1)));
      shown = true;
    },
    say: (text) => {
      wipe();
      stream.write(`${text}\n`);
    },
    finish: wipe,
  };
};

/** One line: bar, share, counts, rate, time to go. `seconds` and the advances are since the display began. */
export const progressLine = (
  state: ProgressState,
  advanced: number,
  rowsAdvanced: number,
  seconds: number,
): string => {
  const rate = seconds > 0 ? rowsAdvanced / seconds : 0;
  // The first line of all has nothing to measure by.
  const pace = seconds > 0 ? `  ${Math.round(rate).toLocaleString('en')} rows/s` : '';
  const counts = state.rows === null ? '' : `  ${state.rows.toLocaleString('en')} rows${pace}`;
  if (state.total === null || state.total <= 0)
    return `${state.label}  ${state.unit} ${state.done.toLocaleString('en')}${counts}`;
  const share = Math.min(1, Math.max(0, state.done / state.total));
  const filled = Math.round(share * BAR_WIDTH);
  const bar = '█'.repeat(filled) + '░'.repeat(BAR_WIDTH - filled);
  const left = advanced > 0 ? ((state.total - state.done) * seconds) / advanced : Number.NaN;
  const eta = Number.isFinite(left) ? `  ${duration(left)} to go` : '';
  const notes = (state.notes ?? []).map((note) => `  [${note}]`).join('');
  return `${state.label}  ${bar} ${(share * 100).toFixed(0).padStart(3)} %  ${state.unit} ${state.done.toLocaleString('en')}/${state.total.toLocaleString('en')}${counts}${eta}${notes}`;
};

/** Seconds as people say them: `8 s`, `3 min 20 s`, `2 h 5 min`, `312 d`. */
export const duration = (seconds: number): string => {
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  if (whole >= 2 * 86_400) return `${Math.floor(whole / 86_400)} d`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
};
