/** Due times: the last one and the next one of any expression, the same as going through time second by second. */
import fc from 'fast-check';
import cron from 'node-cron';
import { describe, expect, it } from 'vitest';
import { cronFault, nextDue, previousDue } from '../../src/jobs/scheduler/cron.ts';
import { scheduleOf } from '../../src/jobs/scheduler/settings.ts';
import { parseConfig } from '../../src/runtime/config.ts';
import { nearest } from '../../src/runtime/nearest.ts';
import { propertyOptions } from '../seed.ts';

const previous = (expression: string, instant: string): string | undefined =>
  previousDue(expression, new Date(instant))?.toISOString();
const next = (expression: string, instant: string): string | undefined =>
  nextDue(expression, new Date(instant))?.toISOString();

describe('due times', () => {
  it('are in UTC, the previous one including the instant itself, the next one not', () => {
    const sunday = '2026-01-04T02:00:00.000Z';
    expect(previous('0 2 * * 0', '2026-01-04T01:59:59.999Z')).toBe('2025-12-28T02:00:00.000Z');
    expect(previous('0 2 * * 0', sunday)).toBe(sunday);
    expect(next('0 2 * * 0', sunday)).toBe('2026-01-11T02:00:00.000Z');
    expect(next('0 2 * * 0', '2026-01-04T01:59:59.999Z')).toBe(sunday);
  });

  it('are found across years, leap days and last days', () => {
    expect(previous('0 0 29 2 *', '2026-01-01T00:00:00Z')).toBe('2024-02-29T00:00:00.000Z');
    expect(next('0 0 29 2 *', '2097-01-01T00:00:00Z')).toBe('2104-02-29T00:00:00.000Z');
    expect(next('30 3 L * *', '2026-02-03T00:00:00Z')).toBe('2026-02-28T03:30:00.000Z');
    expect(previous('* * * * * *', '2026-02-03T00:00:00.500Z')).toBe('2026-02-03T00:00:00.000Z');
  });

  it('are those that match, minute by minute', () => {
    const part = (max: number): fc.Arbitrary<string> =>
      fc.oneof(
        fc.constant('*'),
        fc.integer({ min: 0, max }).map(String),
        fc.integer({ min: 2, max: 20 }).map((step) => `*/${step}`),
      );
    const HOURS = 49;
    fc.assert(
      fc.property(part(59), part(23), fc.integer({ min: 0, max: 86_400 * 800 }), (minute, hour, offset) => {
        const expression = `${minute} ${hour} * * *`;
        const start = Date.UTC(2024, 0, 1) + offset * 1000;
        const task = cron.createTask(expression, () => undefined, { timezone: 'UTC' });
        const minutes = Array.from(
          { length: HOURS * 60 },
          (_unused, index) => (Math.floor(start / 60_000) - HOURS * 30 + index) * 60_000,
        );
        const matching = minutes.filter((at) => task.match(new Date(at)));
        expect(previousDue(expression, new Date(start))?.getTime()).toBe(
          matching.findLast((at) => at <= start),
        );
        expect(nextDue(expression, new Date(start))?.getTime()).toBe(matching.find((at) => at > start));
      }),
      propertyOptions(30),
    );
  });

  it.each([
    ['0 25 * * *', /hour/],
    ['0 0 30 2 *', /impossible day/],
    ['soon', /./],
    ['', /./],
  ])('%j is a fault', (expression, message) => {
    expect(cronFault(expression)).toMatch(message);
    expect(cronFault('0 2 * * 0')).toBeNull();
  });
});

describe('the timetable', () => {
  const schedule = (yaml: string, environment: NodeJS.ProcessEnv = {}): ReturnType<typeof scheduleOf> =>
    scheduleOf(parseConfig(yaml, {}), environment);

  it('has its defaults', () => {
    expect(schedule('')).toEqual({
      verbs: {
        ensure: { enabled: true, cron: '15 0 * * *', batch: null },
        retain: { enabled: true, cron: '0 3 * * *', batch: null },
        drop: { enabled: true, cron: '0 3 * * *', batch: null },
        consolidate: { enabled: true, cron: '0 2 * * 0', batch: 5 },
        optimize: { enabled: true, cron: '0 4 * * *', batch: null },
      },
      poll_ms: 10_000,
      jitter_ms: 30_000,
      consolidateAfter_months: null,
    });
  });

  it('takes the environment before the file, each verb by its own switch', () => {
    const yaml = `schedule:
  consolidate: { enabled: true, cron: 0 5 * * *, weeks: 2, after_months: 6 }
  retain: { enabled: false }`;
    expect(schedule(yaml).verbs).toMatchObject({
      consolidate: { enabled: true, cron: '0 5 * * *', batch: 2 },
      retain: { enabled: false },
      drop: { enabled: true },
      ensure: { enabled: true },
    });
    expect(schedule(yaml).consolidateAfter_months).toBe(6);
    const environment = {
      CONSOLIDATION_ENABLED: 'false',
      CONSOLIDATION_SCHEDULE: '0 6 * * 1',
      CONSOLIDATION_THRESHOLD_MONTHS: '9',
    };
    expect(schedule(yaml, environment)).toMatchObject({
      verbs: { consolidate: { enabled: false, cron: '0 6 * * 1', batch: 2 }, drop: { enabled: false } },
      consolidateAfter_months: 9,
    });
    expect(schedule(yaml, { CONSOLIDATION_ENABLED: '', CONSOLIDATION_SCHEDULE: '' })).toEqual(schedule(yaml));
  });

  it('reports every fault at once', () => {
    const environment = {
      CONSOLIDATION_ENABLED: 'perhaps',
      CONSOLIDATION_SCHEDULE: '0 77 * * *',
      CONSOLIDATION_THRESHOLD_MONTHS: '3.5',
    };
    const fault = (): unknown => schedule('schedule: { create: { cron: 61 0 * * * } }', environment);
    expect(fault).toThrow(/4 faults/);
    for (const name of ['schedule.create.cron', ...Object.keys(environment)]) expect(fault).toThrow(name);
    expect(() => schedule('schedule: { create: { cron: daily } }')).toThrow(/five fields/);
  });
});

describe('the nearest word', () => {
  it.each([
    ['consolodate', 'consolidate'],
    ['optimise', 'optimize'],
    ['enusre', 'ensure'],
    ['ENSURE', 'ensure'],
    ['drop', undefined],
    ['', undefined],
  ])('to %s is %s', (word, meant) => {
    expect(nearest(word, ['ensure', 'consolidate', 'retain', 'optimize'])).toBe(meant);
  });
});
