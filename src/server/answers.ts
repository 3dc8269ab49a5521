/** The questions of the balance explorer and of a run's details: what is asked is checked, what is answered is JSON. */
import { z } from 'zod';
import type { Reader } from '../db/reader.ts';
import { WarehouseError } from '../runtime/errors.ts';
import { accountDoubt } from '../warehouse/account.ts';
import {
  listAssets,
  readBalanceAt,
  readConcentration,
  readHistory,
  readHolders,
  readHoldings,
} from '../warehouse/page/explorer.ts';
import { readRun } from '../warehouse/page/journal.ts';
import { createCells } from './cell.ts';

/** Answers one question. @throws WarehouseError `usage` when it is not a question, `data` when it names what is not there */
export type Answer = (query: URLSearchParams) => Promise<unknown>;

const account = z.string().trim().min(1, 'must not be empty').max(200, 'must be at most 200 characters');
const asset = z.string().regex(/^-?\d{1,19}$/, 'must be the id of an asset');
const at = z.iso.datetime({ offset: true, error: 'must be an instant such as 2026-01-04T12:00:00Z' });
const begins = z.string().max(100).default('');
const run = z.coerce.number().int().min(1).max(Number.MAX_SAFE_INTEGER);

/** What takes a scan of an asset is shared by all who ask within this time. */
const SHARED_MS = 60_000;

/** Assets whose scans are remembered. */
const SHARED_MAX = 64;

/** Time that a scan of one asset may take. */
const SCAN_LIMIT_MS = 15_000;

const parse = <T extends z.ZodRawShape>(shape: T, query: URLSearchParams): z.infer<z.ZodObject<T>> => {
  const parsed = z.object(shape).safeParse(Object.fromEntries(query));
  if (parsed.success) return parsed.data;
  const faults = parsed.error.issues.map(({ path, message }) => `${path.join('.')} ${message}`);
  throw new WarehouseError('usage', faults.join('; '));
};

const found = <T>(value: T | null, what: string): T => {
  if (value === null) throw new WarehouseError('data', `there is no ${what}`);
  return value;
};

/** Every question, by its path. */
export const createAnswers = (reader: Reader): Readonly<Record<string, Answer>> => {
  const holders = createCells<Awaited<ReturnType<typeof readHolders>>>(SHARED_MS, SHARED_MAX);
  const concentration = createCells<Awaited<ReturnType<typeof readConcentration>>>(SHARED_MS, SHARED_MAX);
  return {
    '/api/assets': async (query) => {
      const asked = parse({ begins }, query);
      return { assets: await reader.read((client) => listAssets(client, asked.begins)) };
    },
    '/api/account': async (query) => {
      const asked = parse({ account }, query);
      const holdings = await reader.read((client) => readHoldings(client, asked.account));
      return { holdings, doubt: holdings.length === 0 ? accountDoubt(asked.account) : null };
    },
    '/api/history': async (query) => {
      const asked = parse({ account, asset }, query);
      return reader.read((client) => readHistory(client, asked.account, asked.asset));
    },
    '/api/balance': async (query) => {
      const asked = parse({ account, asset, at }, query);
      const amount = await reader.read((client) =>
        readBalanceAt(client, asked.account, asked.asset, asked.at),
      );
      return { amount: found(amount, `asset ${asked.asset}`) };
    },
    '/api/holders': (query) => {
      const asked = parse({ asset }, query);
      return holders(asked.asset, () =>
        reader.read((client) => readHolders(client, asked.asset), SCAN_LIMIT_MS),
      );
    },
    '/api/concentration': async (query) => {
      const asked = parse({ asset }, query);
      const points = await concentration(asked.asset, () =>
        reader.read((client) => readConcentration(client, asked.asset), SCAN_LIMIT_MS),
      );
      return { points };
    },
    '/api/run': async (query) => {
      const asked = parse({ run }, query);
      return found(await reader.read((client) => readRun(client, asked.run)), `run ${asked.run}`);
    },
  };
};
