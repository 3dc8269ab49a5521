/** Time as the scheduler sees it: handed in, so that a test can say what time it is. */
import cron from 'node-cron';

/** Calls something off. */
export type CallOff = () => void;

/** A clock. */
export interface Clock {
  now(): Date;
  /** Calls back once, after so many milliseconds. */
  after(ms: number, call: () => void): CallOff;
  /** Calls back at each due time of a cron expression, in UTC. */
  cron(expression: string, call: () => void): CallOff;
}

const silent = (): void => undefined;

/** The machine's clock, with node-cron for the due times. */
export const systemClock: Clock = {
  now: () => new Date(),
  after: (ms, call) => {
    const timer = setTimeout(call, ms);
    return () => clearTimeout(timer);
  },
  cron: (expression, call) => {
    const task = cron.schedule(expression, call, {
      timezone: 'UTC',
      suppressMissedWarning: true,
      logger: { info: silent, warn: silent, error: silent, debug: silent },
    });
    // A busy process or a sleeping machine: late is better than never.
    task.on('execution:missed', call);
    return () => void task.destroy();
  },
};
