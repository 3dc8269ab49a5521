/** The JSON that rides beside a record batch (Flight's app_metadata), to and from checked block ranges. */
import { WarehouseError } from '../runtime/errors.ts';
import type { BatchMetadata, BlockRange } from './range.ts';

/** The parent hash a server names where there is no parent: at genesis. */
export const ZERO_HASH = `0x${'0'.repeat(64)}`;

/** Longest piece of a faulty value that an error repeats. */
const SHOWN_CHARACTERS = 60;

/** Most networks one batch may speak of; more than this is a broken server, not a join. */
const MAX_RANGES = 1_000;

const HASH = /^0x[0-9a-f]{64}$/i;

type Fields = Readonly<Record<string, unknown>>;

const shown = (value: unknown): string =>
  value === undefined ? 'nothing' : JSON.stringify(value).slice(0, SHOWN_CHARACTERS);

const malformed = (what: string, where: Partial<Record<'network', string>> = {}): WarehouseError =>
  new WarehouseError('protocol', `The server sent malformed batch metadata: ${what}.`, {
    ...where,
    remedy:
      'Check that the Flight server is one that announces block ranges, and that its version is supported.',
  });

const isFields = (value: unknown): value is Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const fieldsOf = (value: unknown, name: string): Fields => {
  if (!isFields(value)) throw malformed(`${name} must be an object, it is ${shown(value)}`);
  return value;
};

const nameOf = (value: unknown): string => {
  if (typeof value !== 'string' || value === '')
    throw malformed(`network must be a name, it is ${shown(value)}`);
  return value;
};

const countOf = (value: unknown, name: string, network: string): number => {
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value;
  throw malformed(`${name} must be an integer from 0 to 2^53 - 1, it is ${shown(value)}`, { network });
};

const hashOf = (value: unknown, name: string, network: string): string => {
  if (typeof value === 'string' && HASH.test(value)) return value.toLowerCase();
  throw malformed(`${name} must be 0x and 64 hex digits, it is ${shown(value)}`, { network });
};

const rangeOf = (value: unknown): BlockRange => {
  const fields = fieldsOf(value, 'each of ranges');
  const network = nameOf(fields['network']);
  const numbers = fieldsOf(fields['numbers'], 'numbers');
  const start = countOf(numbers['start'], 'numbers.start', network);
  const end = countOf(numbers['end'], 'numbers.end', network);
  if (end < start) throw malformed(`the range ends at ${end}, before its start ${start}`, { network });
  const prevHash = fields['prev_hash'] ?? null;
  const timestamp = fields['timestamp'] ?? null;
  return {
    network,
    start,
    end,
    hash: hashOf(fields['hash'], 'hash', network),
    prevHash: prevHash === null ? null : hashOf(prevHash, 'prev_hash', network),
    timestamp: timestamp === null ? null : countOf(timestamp, 'timestamp', network),
  };
};

const rejectRepeats = (ranges: readonly BlockRange[]): void => {
  const seen = new Set<string>();
  for (const { network } of ranges) {
    if (seen.has(network)) throw malformed('a network has more than one range', { network });
    seen.add(network);
  }
};

const jsonOf = (bytes: Uint8Array): unknown => {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    throw malformed('it is not JSON');
  }
};

/**
 * Reads the app_metadata of one Flight message.
 *
 * Hashes come out in lower case, a missing `prev_hash` or `timestamp` as null, an all-zero `prev_hash` as it is;
 * unknown keys are ignored. A block number that JSON cannot carry exactly (2^53 and above) is refused, never rounded.
 *
 * @throws WarehouseError `protocol` that names what is malformed.
 */
export const parseMetadata = (bytes: Uint8Array): BatchMetadata => {
  const fields = fieldsOf(jsonOf(bytes), 'the metadata');
  const { ranges, ranges_complete: complete } = fields;
  if (!Array.isArray(ranges)) throw malformed(`ranges must be a list, it is ${shown(ranges)}`);
  if (ranges.length > MAX_RANGES)
    throw malformed(`ranges has ${ranges.length} entries, more than ${MAX_RANGES}`);
  if (typeof complete !== 'boolean')
    throw malformed(`ranges_complete must be true or false, it is ${shown(complete)}`);
  const parsed = ranges.map(rangeOf);
  rejectRepeats(parsed);
  return { ranges: parsed, complete };
};

const wireRange = ({ network, start, end, hash, prevHash, timestamp }: BlockRange): Fields => ({
  numbers: { start, end },
  network,
  hash,
  ...(prevHash === null ? {} : { prev_hash: prevHash }),
  ...(timestamp === null ? {} : { timestamp }),
});

/** The app_metadata bytes a server sends for this metadata; the inverse of {@link parseMetadata}. */
export const encodeMetadata = ({ ranges, complete }: BatchMetadata): Uint8Array =>
  new TextEncoder().encode(JSON.stringify({ ranges: ranges.map(wireRange), ranges_complete: complete }));
