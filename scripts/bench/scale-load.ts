/** What the cases of `scale` share: a database of its own for each run, and the policy. */
import { recreateDatabase } from '../../src/db/administer.ts';
import { migrate } from '../../src/db/migrate.ts';

/** Every transfer of the chain. */
export const QUERY = 'SELECT _block_num, timestamp, log_index, token, "from", "to", value FROM transfers';

/** A policy with one stream `transfers`; `settings` follow the rules. */
export const policyOf = (url: string, settings: string): string => `
servers: { bench: { url: "${url}" } }
streams:
  transfers: { server: bench, load: transfers, query: '${QUERY}', ordinal: log_index, rules: ["to:+value", "from:-value"]${settings} }`;

/** A fresh, migrated database. */
export const freshDatabase = async (server: string): Promise<string> => {
  const database = await recreateDatabase(server, 'bench_scale');
  await migrate({ connectionString: database });
  return database;
};
