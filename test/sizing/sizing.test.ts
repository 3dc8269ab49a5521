/** The sizing's arithmetic and its simulation agree, add up, and are what docs/sizing.md says. */
import { readFile } from 'node:fs/promises';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { renderSizing, SIZING_FILE } from '../../scripts/sizing.ts';
import { sizingOf, workersNeeded } from '../../scripts/sizing/closed-form.ts';
import {
  costOfRow,
  missedShare,
  rowsPerWeek,
  USABLE,
  type Machine,
  type Scenario,
} from '../../scripts/sizing/demand.ts';
import { readRates } from '../../scripts/sizing/rates.ts';
import { bytes, count, hours, SIMULATED_WEEKS } from '../../scripts/sizing/report.ts';
import {
  BILLIONS,
  citusOf,
  HUNDREDFOLD,
  MACHINES,
  POLICY,
  scenariosOf,
} from '../../scripts/sizing/scenarios.ts';
import { simulate } from '../../scripts/sizing/simulate.ts';
import { propertyOptions } from '../seed.ts';

const rates = await readRates();
const scenarios = scenariosOf(rates);

test('docs/sizing.md says what the code says, or `npm run sizing` has to be run', async () => {
  const text = await readFile(SIZING_FILE, 'utf8');
  expect(await renderSizing(text)).toBe(text);
});

test('the rates are all there, and a week of rows is what the question says', () => {
  const numbers = JSON.stringify(rates)
    .match(/:(-?[\d.]+)/g)!
    .map((text) => Number(text.slice(1)));
  expect(numbers.length).toBeGreaterThan(25);
  for (const number of numbers) expect(number).toBeGreaterThan(0);
  expect(rowsPerWeek(BILLIONS)).toBe(4_200_000_000);
  expect(rowsPerWeek(HUNDREDFOLD)).toBe(420_000_000_000);
});

describe('the arithmetic', () => {
  test('by hand: bytes, WAL and workers of 4.2 billion rows a week', () => {
    const { changes, balances, state } = rates.bytes;
    const memory = (4.2e9 * (changes.key + balances.key) + 25e6 * (state.heap + state.key)) * 1.15;
    expect(workersNeeded(rates, BILLIONS, MACHINES.medium, POLICY).memory).toBe(
      Math.ceil(memory / (256e9 * 0.7)),
    );
    const { wal_bytes: wal } = rates;
    const perChange = wal.copy + wal.fold + (wal.images_per_change * wal.image) / 4;
    expect(costOfRow(rates, POLICY, 0).wal_bytes).toBeCloseTo(perChange, 6);
    const one = scenarios.values().next().value!;
    expect(sizingOf(rates, one).wal_bytes_day).toBeCloseTo((perChange * 4.2e9) / 7, -3);
    expect(sizingOf(rates, one).leaf_bytes).toBeCloseTo((4.2e9 * (changes.heap + changes.key)) / 16, -3);
  });

  test('a hundred times the rows are about a hundred times the workers, whatever limits', () => {
    for (const machine of Object.values(MACHINES)) {
      const [small, large] = [BILLIONS, HUNDREDFOLD].map((workload) =>
        workersNeeded(rates, workload, machine, POLICY),
      );
      for (const limit of ['memory', 'cores', 'disk', 'bandwidth'] as const) {
        expect(large![limit]).toBeLessThanOrEqual(small![limit] * 100);
        expect(large![limit]).toBeGreaterThan((small![limit] - 1) * 100);
      }
    }
  });

  test('nothing is missed while memory holds the week, and everything counts once', () => {
    const scenario: Scenario = { workload: BILLIONS, policy: POLICY, cluster: citusOf(100, MACHINES.medium) };
    expect(missedShare(rates, scenario, 1)).toBe(0);
    const poor = { ...scenario, cluster: citusOf(1, MACHINES.medium) };
    expect(missedShare(rates, poor, 1)).toBeGreaterThan(missedShare(rates, poor, 0.5));
    expect(costOfRow(rates, POLICY, 1).read_bytes).toBeGreaterThan(costOfRow(rates, POLICY, 0).read_bytes);
  });
});

/** So small that hours fill it: a million rows an hour at its best. */
const TINY: Machine = { ...MACHINES.medium, cores: 1, memory_bytes: 1e12, disk_bytes: 1e15 };
const run = { weeks: 20, lost_at: null };

describe('the simulation', () => {
  test('comes to the disk that the arithmetic says, when everything has settled', () => {
    for (const scenario of scenarios.values()) {
      const { disk_high_water } = simulate(rates, scenario, { weeks: SIMULATED_WEEKS, lost_at: null });
      expect(disk_high_water / sizingOf(rates, scenario).worker_disk_bytes).toBeCloseTo(1, 1);
    }
  });

  test('the advised clusters keep up, and rows do not wait', () => {
    for (const [name, scenario] of scenarios) {
      if (scenario.cluster.topology === 'single') continue;
      expect(simulate(rates, scenario, { weeks: SIMULATED_WEEKS, lost_at: null }), name).toMatchObject({
        fails: null,
        lag_hours_end: 0,
        unsettled_end: 0,
      });
    }
  });

  test('rows wait exactly as long as a machine that is too small takes fewer than come', () => {
    const scenario: Scenario = {
      workload: { ...BILLIONS, peak: 1, streams: 100 },
      policy: POLICY,
      cluster: { topology: 'single', workers: 1, shards: 4, machine: { ...TINY, cores: 0.1 } },
    };
    const outcome = simulate(rates, scenario, { weeks: 2, lost_at: null });
    const taken = (0.1 * USABLE.cores) / costOfRow(rates, POLICY, 0).cpu_s;
    const coming = 4.2e9 / 604_800;
    expect(taken).toBeLessThan(coming);
    expect(outcome.fails).toBe('rows wait');
    expect(outcome.lag_hours_end).toBeCloseTo(336 * (1 - taken / coming), 6);
    expect(outcome.cpu_mean).toBeCloseTo(1, 6);
  });

  test('more workers never wait longer or fill more disk each', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 2, max: 20 }),
        fc.integer({ min: 1, max: 40 }),
        fc.integer({ min: 1, max: 6 }),
        (workers, more, peak) => {
          const of = (count: number) =>
            simulate(
              rates,
              { workload: { ...BILLIONS, peak }, policy: POLICY, cluster: citusOf(count, MACHINES.medium) },
              run,
            );
          const [few, many] = [of(workers), of(workers + more)];
          expect(many.lag_hours_max).toBeLessThanOrEqual(few.lag_hours_max + 1e-9);
          expect(many.disk_high_water).toBeLessThan(few.disk_high_water);
          expect(many.settle_hours_max).toBeLessThanOrEqual(few.settle_hours_max);
        },
      ),
      propertyOptions(8),
    );
  });

  test('a lost worker is copied anew, and costs what is left for rows meanwhile', () => {
    const scenario = [...scenarios.values()].at(-1)!;
    const { lost, disk_high_water } = simulate(rates, scenario, { weeks: 30, lost_at: 29 * 168 });
    const wire = scenario.cluster.machine.net_bytes_s * USABLE.bandwidth * 3600;
    expect(lost!.replicate_hours).toBeGreaterThanOrEqual(Math.floor((disk_high_water * 0.9) / wire));
    expect(lost!.rows_per_s).toBeGreaterThan(rowsPerWeek(scenario.workload) / 604_800);
    expect(simulate(rates, scenario, run).lost).toBeNull();
  });

  test('without cores for it, weeks do not settle', () => {
    const workload = { ...BILLIONS, accounts: 25_000, peak: 1, streams: 100 };
    // Rows leave 2 % of the cores; settling their two tables wants more than that.
    const cores =
      ((rowsPerWeek(workload) / 604_800) * costOfRow(rates, POLICY, 0).cpu_s * 1.02) / USABLE.cores;
    const scenario: Scenario = {
      workload,
      policy: POLICY,
      cluster: { topology: 'single', workers: 1, shards: 4, machine: { ...TINY, cores } },
    };
    expect(simulate(rates, scenario, run)).toMatchObject({ fails: 'weeks do not settle', lag_hours_end: 0 });
  });
});

test('figures are said with three digits and the unit that suits them', () => {
  expect([bytes(1.2345e12), bytes(950e9), bytes(372), bytes(4.73e15)]).toEqual([
    '1.23 TB',
    '950 GB',
    '372 B',
    '4.73 PB',
  ]);
  expect([count(6944.4), count(2.7778e6), count(4.2e9), count(0.018)]).toEqual([
    '6,940',
    '2.78 million',
    '4.2 billion',
    '0.018',
  ]);
  expect([hours(0.5), hours(12.34), hours(240)]).toEqual(['30 min', '12 h', '10 days']);
});
