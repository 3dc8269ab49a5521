/** Every analytics function against the oracle, over openings, consolidated and hashed weeks, in two time zones. */
import { afterAll, beforeAll, describe } from 'vitest';
import type { PoolClient } from 'pg';
import { useDatabase } from '../database.ts';
import { seed } from '../seed.ts';
import { testAccounts } from './exact-accounts.ts';
import { testFlows } from './exact-flows.ts';
import { testHolders } from './exact-holders.ts';
import { drawHistory, storeHistory } from './history.ts';

const database = useDatabase();
const SEED = seed();
const history = drawHistory(SEED);

beforeAll(async () => {
  await storeHistory(database.pool, history);
  console.log(`analytics history of seed ${SEED}`);
});

describe.each(['UTC', 'Pacific/Chatham'])('in a session of time zone %s', (zone) => {
  let client: PoolClient;
  beforeAll(async () => {
    client = await database.pool.connect();
    await client.query(`select set_config('timezone', $1, false)`, [zone]);
    await client.query(`set datestyle = 'ISO, DMY'; set bytea_output = 'escape'`);
  });
  afterAll(() => client.release(true));
  const session = {
    history,
    get client() {
      return client;
    },
  };

  testHolders(session);
  testFlows(session);
  testAccounts(session);
});
