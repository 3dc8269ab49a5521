/** Parameters of named queries: from text to values that SQL takes, with errors that say what would be right. */
import { WarehouseError } from '../../runtime/errors.ts';
import { didYouMean } from '../../runtime/nearest.ts';
import { QUERIES, QUERY_NAMES, type QueryName } from './catalogue.ts';
import type { AnalyticsQuery, Parameter, ParameterType, ParameterValue } from './query.ts';

/** Values by parameter name; what is absent has its preset. */
export type GivenParameters = Readonly<Record<string, unknown>>;

const DAY = /^\d{4}-\d{2}-\d{2}$/;
const CLOCK = /^(\d{4}-\d{2}-\d{2})[T ](\d{2}:\d{2}(?::\d{2}(?:\.\d{1,6})?)?)(Z|[+-]\d{2}:?\d{2})?$/;
const EXACT = /^-?\d{1,300}(?:\.\d{1,300})?$/;
const DURATION = /^\d{1,6}(?:\.\d{1,3})? ?(?:minutes?|hours?|days?|weeks?|months?|years?)$/;
const COUNT = /^\d{1,9}$/;
const PERIODS = ['hour', 'day', 'week', 'month'] as const;

/**
 * An instant as PostgreSQL takes it, UTC where the text names no zone; undefined for what is none.
 *
 * @example instantOf('2026-01-31') // '2026-01-31T00:00Z'
 */
export const instantOf = (text: string): string | undefined => {
  if (text === 'now') return text;
  const [, day = '', clock = '', zone = 'Z'] = DAY.test(text)
    ? ['', text, '00:00']
    : (CLOCK.exec(text) ?? []);
  const midnight = new Date(`${day}T00:00Z`);
  // Date takes the 31st of any month for a day of the next one.
  if (Number.isNaN(midnight.getTime()) || midnight.toISOString().slice(0, 10) !== day) return undefined;
  return Number.isNaN(Date.parse(`${day}T${clock}${zone}`)) ? undefined : `${day}T${clock}${zone}`;
};

type Reader<T extends ParameterType> = (text: string) => ParameterValue<T> | undefined;

const numbersOf: Reader<'numbers'> = (text) => {
  const numbers = text.split(',').map((number) => number.trim());
  return numbers.every((number) => EXACT.test(number)) ? numbers : undefined;
};

const curveOf: Reader<'curve'> = (text) => {
  const points = text.split(',').map((point) => {
    const [usd = '', multiplier = '', ...rest] = point.split(':').map((number) => number.trim());
    return EXACT.test(usd) && EXACT.test(multiplier) && rest.length === 0 ? { usd, multiplier } : undefined;
  });
  return points.every((point) => point !== undefined) ? points : undefined;
};

const countOf: Reader<'count'> = (text) => (COUNT.test(text) && Number(text) > 0 ? Number(text) : undefined);

const READERS: { readonly [T in ParameterType]: { readonly read: Reader<T>; readonly wants: string } } = {
  account: { read: (text) => text || undefined, wants: 'an address, such as 0x00ab… or cosmos1…' },
  asset: { read: (text) => text || undefined, wants: 'an asset: its id, key or symbol' },
  instant: { read: instantOf, wants: 'an instant, such as 2026-01-31 or 2026-01-31T12:00:00Z' },
  period: { read: (text) => PERIODS.find((period) => period === text), wants: 'hour, day, week or month' },
  count: { read: countOf, wants: 'a whole number from 1 on' },
  duration: {
    read: (text) => (DURATION.test(text) ? text : undefined),
    wants: 'a length of time, such as "36 hours" or "7 days"',
  },
  numbers: { read: numbersOf, wants: 'numbers with commas between, such as 1,10,100' },
  curve: { read: curveOf, wants: 'usd:multiplier points, such as 0:0.5,1000:1' },
  text: { read: (text) => text || undefined, wants: 'a text' },
};

const optionOf = ({ name }: Parameter): string => `--${name}`;

/** The query of that name. @throws WarehouseError `usage` that names what may have been meant */
export const findQuery = (name: string): QueryName => {
  const found = QUERY_NAMES.find((known) => known === name);
  if (found !== undefined) return found;
  throw new WarehouseError(
    'usage',
    `there is no query ${JSON.stringify(name)}${didYouMean(name, QUERY_NAMES)}`,
    {
      remedy: 'Take one of those that `pgstrata query --list` shows.',
    },
  );
};

const faultsOf = (name: QueryName, given: Readonly<Record<string, string>>): string[] => {
  const { parameters }: AnalyticsQuery = QUERIES[name];
  const known = parameters.map((parameter) => parameter.name);
  const unknown = Object.keys(given)
    .filter((word) => !known.includes(word))
    .map((word) => `it takes no --${word}${didYouMean(word, known, '--')}`);
  const missing = parameters
    .filter((parameter) => parameter.preset === undefined && given[parameter.name] === undefined)
    .map((parameter) => `it needs ${optionOf(parameter)}, ${parameter.doc}`);
  const wrong = parameters.flatMap((parameter) => {
    const text = given[parameter.name];
    const { read, wants } = READERS[parameter.type];
    if (text === undefined || text === parameter.preset || read(text) !== undefined) return [];
    const meant = parameter.type === 'period' ? didYouMean(text, PERIODS) : '';
    return [`${optionOf(parameter)} is ${JSON.stringify(text)}, not ${wants}${meant}`];
  });
  return [...unknown, ...missing, ...wrong];
};

/**
 * Values from texts, as the command line has them. All faults are told at once.
 *
 * @throws WarehouseError `usage`
 */
export const readParameters = (name: QueryName, given: Readonly<Record<string, string>>): GivenParameters => {
  const { parameters, example }: AnalyticsQuery = QUERIES[name];
  const faults = faultsOf(name, given);
  if (faults.length > 0) {
    throw new WarehouseError('usage', `the query ${name} cannot be run: ${faults.join('; ')}`, {
      remedy: `It takes ${parameters.map((parameter) => (parameter.preset === undefined ? optionOf(parameter) : `[${optionOf(parameter)}]`)).join(' ')}, for example: pgstrata query ${name} ${example}`,
    });
  }
  return Object.fromEntries(
    parameters.flatMap((parameter) => {
      const text = given[parameter.name];
      return text === undefined || text === parameter.preset
        ? []
        : [[parameter.name, READERS[parameter.type].read(text)]];
    }),
  );
};
