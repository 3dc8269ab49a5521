/** The pure half of resilience: which failures pass, how long is waited, how fast is asked, when a breaker opens. No time passes. */
import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import { parseConfig, resilienceOf } from '../../src/runtime/config.ts';
import { WarehouseError } from '../../src/runtime/errors.ts';
import type { ErrorDetail } from '../../src/runtime/errors.ts';
import {
  afterFailure,
  breakerPause,
  createBreaker,
  createRate,
  DEFAULT_RESILIENCE,
  FRESH,
  nextRateDelay,
  retryDelay,
} from '../../src/runtime/resilience.ts';
import type { Answer, BreakerState, RetryState } from '../../src/runtime/resilience.ts';
import { prospectOf } from '../../src/runtime/transient.ts';
import type { Prospect } from '../../src/runtime/transient.ts';
import { propertyOptions } from '../seed.ts';

const { retry, rate, breaker } = DEFAULT_RESILIENCE;

describe('whether a failure may pass', () => {
  const failed = (detail: ErrorDetail, message = ''): Prospect =>
    prospectOf(new WarehouseError('database', message, detail));

  it.each([
    ['transient', ['40001', '40P01', '55P03', '55006', '53300', '57P01', '57P02', '57P03', '08006', '08P01']],
    ['doubtful', ['53100', '57014', 'XX000']],
    ['permanent', ['22003', '23505', '28P01', '3D000', '42P01', '40002', '57P04', 'XX001']],
  ] as const)('is %s for SQLSTATEs %j', (prospect, states) => {
    for (const sqlstate of states) expect([sqlstate, failed({ sqlstate })]).toEqual([sqlstate, prospect]);
  });

  it.each([
    ['transient', ['OK', 'UNAVAILABLE', 'DEADLINE_EXCEEDED', 'RESOURCE_EXHAUSTED', 'ABORTED', 'CANCELLED']],
    ['doubtful', ['INTERNAL', 'UNKNOWN']],
    ['token', ['UNAUTHENTICATED']],
    ['permanent', ['INVALID_ARGUMENT', 'PERMISSION_DENIED', 'UNIMPLEMENTED', 'DATA_LOSS', 'OUT_OF_RANGE']],
  ] as const)('is %s for gRPC statuses %j', (prospect, statuses) => {
    for (const grpcStatus of statuses)
      expect([grpcStatus, failed({ grpcStatus })]).toEqual([grpcStatus, prospect]);
  });

  it('is not asked of the message, nor of errors that are not ours', () => {
    expect(failed({}, 'connection reset, please retry: 40001 UNAVAILABLE')).toBe('permanent');
    expect(failed({ sqlstate: '22P02' }, 'deadlock detected')).toBe('permanent');
    expect(prospectOf(Object.assign(new Error('x'), { code: '40001' }))).toBe('permanent');
  });
});

describe('trying again', () => {
  const attended = { unattended: false, renewsToken: false };
  const unattended = { unattended: true, renewsToken: false };
  const failures = (prospects: readonly Prospect[], trial = attended): RetryState | null =>
    prospects.reduce<RetryState | null>(
      (state, prospect) => (state === null ? null : afterFailure(state, prospect, retry, trial)),
      FRESH,
    );

  it('ends after five tries where somebody waits for the end, and never where nobody does', () => {
    const outage = Array.from({ length: 1000 }, (): Prospect => 'transient');
    expect(failures(outage.slice(0, 4))).toEqual({ failures: 4, doubts: 0, refusals: 0 });
    expect(failures(outage.slice(0, 5))).toBeNull();
    expect(failures(outage, unattended)).toEqual({ failures: 1000, doubts: 0, refusals: 0 });
  });

  it('ends at once where it cannot help', () => {
    expect(failures(['permanent'])).toBeNull();
    expect(failures(['transient', 'permanent'], unattended)).toBeNull();
  });

  it('bounds what is doubtful even where nobody waits, unless another failure shows that it was the other side', () => {
    const doubts = Array.from({ length: 50 }, (): Prospect => 'doubtful');
    expect(failures(doubts.slice(0, 5))).toBeNull();
    expect(failures(doubts, unattended)).toBeNull();
    expect(failures([...doubts.slice(1), 'transient', ...doubts.slice(1)], unattended)).toMatchObject({
      doubts: 49,
    });
  });

  it('sends another token once, where there may be another one', () => {
    expect(failures(['token'])).toBeNull();
    const renews = { unattended: true, renewsToken: true };
    expect(failures(['token'], renews)).toMatchObject({ refusals: 1 });
    expect(failures(['token', 'token'], renews)).toBeNull();
    expect(failures(['token', 'transient', 'token'], renews)).toMatchObject({ refusals: 1 });
  });

  it('waits 2, 4, 8 … 120 seconds, each 50 to 150 % by chance, and never above the cap', () => {
    const waits = [1, 2, 3, 4, 5, 6, 7, 8].map((count) => retryDelay(count, retry, () => 0.5));
    expect(waits).toEqual([2000, 4000, 8000, 16_000, 32_000, 64_000, 120_000, 120_000]);
    expect(retryDelay(1, retry, () => 0)).toBe(1000);
    expect(retryDelay(1, retry, () => 0.999_999_9)).toBe(3000);
    expect(breakerPause(breaker, retry, () => 0)).toBe(15_000);
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 5000 }),
        fc.double({ min: 0, max: 0.999, noNaN: true }),
        (count, chance) => {
          const wait = retryDelay(count, retry, () => chance);
          expect(wait).toBeGreaterThanOrEqual(1000);
          expect(wait).toBeLessThanOrEqual(retry.delay_max_ms);
        },
      ),
      propertyOptions(500),
    );
  });
});

describe('the pace', () => {
  it('doubles and a second when the server has had enough, × 1.5 and half a second when it is late, × 0.9 when it answers', () => {
    expect(nextRateDelay(0, 'throttled', rate)).toBe(1000);
    expect(nextRateDelay(1000, 'throttled', rate)).toBe(3000);
    expect(nextRateDelay(3000, 'throttled', rate)).toBe(5000);
    expect(nextRateDelay(0, 'late', rate)).toBe(500);
    expect(nextRateDelay(500, 'late', rate)).toBe(1250);
    expect(nextRateDelay(1000, 'answered', rate)).toBe(900);
  });

  it('stays between nothing and the cap whatever happens, and comes back to nothing', () => {
    const answers = fc.array(fc.constantFrom<Answer>('answered', 'throttled', 'late'));
    fc.assert(
      fc.property(answers, (history) => {
        const reached = history.reduce((delay, answer) => nextRateDelay(delay, answer, rate), 0);
        expect(reached).toBeGreaterThanOrEqual(0);
        expect(reached).toBeLessThanOrEqual(rate.delay_max_ms);
        const calm = Array.from({ length: 100 }, (): Answer => 'answered');
        expect(calm.reduce((delay, answer) => nextRateDelay(delay, answer, rate), reached)).toBe(0);
      }),
      propertyOptions(300),
    );
  });

  it('tells of each slowing down', () => {
    const told: number[] = [];
    const pace = createRate(rate, (delay_ms) => told.push(delay_ms));
    for (const answer of ['answered', 'throttled', 'answered', 'late'] as const) pace.note(answer);
    expect(told).toEqual([1000, 1850]);
    expect(pace.delay_ms()).toBe(1850);
  });
});

describe('the breaker', () => {
  const failure = (): Promise<never> => Promise.reject(new Error('no'));

  test('opens after so many failures in a row, tries once, and closes when that got on', async () => {
    const told: BreakerState[] = [];
    const watched = createBreaker({ failures: 3, pause_ms: 0 }, (state) => told.push(state));
    await watched.watch(failure());
    await watched.watch(failure());
    await watched.watch(Promise.resolve());
    await watched.watch(failure());
    await watched.watch(failure());
    expect(watched.state()).toBe('closed');
    await watched.watch(failure());
    expect(watched.state()).toBe('open');
    await watched.watch(failure());
    await watched.watch(Promise.resolve());
    expect(told).toEqual(['open', 'half-open', 'open', 'half-open', 'closed']);
  });
});

describe('settings', () => {
  it('are the stream’s, else the file’s, else the defaults', () => {
    const config = parseConfig(
      JSON.stringify({
        retry: { tries: 7, jitter: 0 },
        breaker: { failures: 2 },
        servers: { s: { url: 'grpc://localhost:1' } },
        streams: { own: { server: 's', load: 'rows', query: 'select', table: 't', retry: { tries: 9 } } },
      }),
      {},
    );
    expect(resilienceOf(config, 'own')).toEqual({
      retry: { ...retry, tries: 9, jitter: 0 },
      rate,
      breaker: { ...breaker, failures: 2 },
    });
  });

  it('refuse a server with a token and a token file', () => {
    const text = JSON.stringify({
      servers: { s: { url: 'grpc://localhost:1', token: 'a', token_file: 'b' } },
    });
    expect(() => parseConfig(text, {})).toThrow(/servers\.s: has both token and token_file/);
  });
});
