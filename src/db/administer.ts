/** Whole databases: made and dropped for demos and tests. */
import pg from 'pg';
import { asWarehouseError } from './errors.ts';

/** The same server, another database. */
const withDatabaseName = (url: string, database: string): string => {
  const other = new URL(url);
  other.pathname = `/${database}`;
  return other.href;
};

/**
 * Drops the database if it is there and makes it anew. Whatever it held is gone.
 *
 * @param url any other database of the server
 * @returns the URL of the fresh one
 */
export const recreateDatabase = async (url: string, database: string): Promise<string> => {
  await administer(url, async (client) => {
    await dropOn(client, database);
    await client.query(`create database ${client.escapeIdentifier(database)}`);
  });
  return withDatabaseName(url, database);
};

/** Drops the database if it is there, whoever is connected to it. */
export const dropDatabase = (url: string, database: string): Promise<void> =>
  administer(url, (client) => dropOn(client, database));

/** SQLSTATE insufficient_privilege. */
const NOT_ALLOWED = '42501';

const dropOn = async (client: pg.Client, database: string): Promise<void> => {
  const statement = `drop database if exists ${client.escapeIdentifier(database)}`;
  try {
    await client.query(`${statement} with (force)`);
  } catch (thrown) {
    // Only a superuser may end an autovacuum worker; without FORCE the server asks it to leave by itself.
    if ((thrown as { code?: string }).code !== NOT_ALLOWED) throw thrown;
    await client.query(statement);
  }
};

const administer = async (url: string, work: (client: pg.Client) => Promise<void>): Promise<void> => {
  const client = new pg.Client({ connectionString: url, application_name: 'pgstrata' });
  try {
    await client.connect();
    await work(client);
  } catch (thrown) {
    throw asWarehouseError(thrown);
  } finally {
    await client.end();
  }
};
