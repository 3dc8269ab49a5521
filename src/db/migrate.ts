/** Applies the committed migrations: idempotent, safe for many processes at once, with errors that show the line. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Logger } from '@graphile/logger';
import { migrate as applyCommitted } from 'graphile-migrate';
import { clearAllPools } from 'graphile-migrate/dist/pgReal.js';
import pg from 'pg';
import { WarehouseError, messageOf } from '../runtime/errors.ts';
import { withAdvisoryLock } from './locks.ts';

/** The migrations that ship with pgstrata. */
export const MIGRATIONS_FOLDER = fileURLToPath(new URL('../../migrations', import.meta.url));

/** Where the warehouse is to lie; `auto` takes a cluster where the database coordinates one. */
export type TopologyWish = 'single' | 'citus' | 'auto';

/** Where to migrate, and from which folder (for tests; default the shipped one). */
export interface MigrateOptions {
  readonly connectionString: string;
  readonly migrationsFolder?: string;
  /** Default `auto`. */
  readonly topology?: TopologyWish;
  /** Shards of each distributed table on a cluster; fixed by the first migration. Default 32. */
  readonly shards?: number;
}

/** What was done: the files applied now, and how many had been applied before. */
export interface MigrateResult {
  readonly applied: readonly string[];
  readonly total: number;
  /** Where the warehouse lies now. */
  readonly topology: 'single' | 'citus';
}

/**
 * Brings the database to the newest committed migration; each file is one transaction.
 * Any number of processes may call it at once: one works, the others wait and find it done.
 *
 * @throws WarehouseError `database` with file, line and a caret under the offending SQL.
 */
export const migrate = async (options: MigrateOptions): Promise<MigrateResult> => {
  const folder = options.migrationsFolder ?? MIGRATIONS_FOLDER;
  const client = new pg.Client({
    connectionString: options.connectionString,
    application_name: 'pgstrata migrate',
  });
  await client.connect();
  try {
    // graphile-migrate gives up when its own lock is taken; behind ours nobody ever finds it taken.
    return await withAdvisoryLock(client, 'migrate', async () => {
      const before = await appliedFiles(client);
      await applyCommitted({
        connectionString: options.connectionString,
        migrationsFolder: folder,
        logger: new Logger(() => () => undefined),
        pgSettings: {
          search_path: 'pg_catalog, public, pg_temp',
          client_min_messages: 'warning',
          // The history makes one server's warehouse; strata.distribute() puts that on the nodes of a cluster.
          'citus.enable_ddl_propagation': 'off',
        },
      })
        .catch(async (thrown: unknown) => {
          throw await locate(thrown, folder);
        })
        // Its idle pool lives on for a moment, and would end the whole process should the server go away just then.
        .finally(clearAllPools);
      const after = await appliedFiles(client);
      const topology = await distribute(client, options);
      return { applied: after.filter((file) => !before.includes(file)), total: after.length, topology };
    });
  } finally {
    await client.end();
  }
};

/** Shards that Citus itself makes of a table where nobody says otherwise: enough for sixteen workers of two cores. */
const SHARDS = 32;

/** Puts the warehouse on the cluster that the database coordinates, if it is to lie there; brings one that does up to date. */
const distribute = async (
  client: pg.Client,
  { topology = 'auto', shards = SHARDS }: MigrateOptions,
): Promise<MigrateResult['topology']> => {
  const { rows } = await client.query<{ possible: boolean; wanted: boolean; done: boolean }>(
    `select to_regproc('strata.distribute') is not null as possible, to_regclass('strata.shards') is not null as done,
            exists (select from pg_extension where extname = 'citus') as wanted`,
  );
  const { possible = false, wanted = false, done = false } = rows[0] ?? {};
  if (topology === 'single' && done) {
    throw new WarehouseError('config', 'topology is single, but this warehouse lies on a cluster', {
      remedy: 'Write topology: citus (or auto); a warehouse is not taken back to one server.',
    });
  }
  if (!possible || topology === 'single' || (topology === 'auto' && !wanted)) return 'single';
  await client.query('select strata.distribute($1)', [shards]).catch((thrown: unknown) => {
    const fault = thrown as { code?: string; hint?: string };
    throw new WarehouseError(
      'database',
      `the warehouse was not put on the cluster: ${messageOf(thrown)}`,
      { ...sqlState(fault), ...(fault.hint === undefined ? {} : { remedy: fault.hint }) },
      thrown,
    );
  });
  return 'citus';
};

/** A committed migration that the database has not seen. */
export interface PendingMigration {
  readonly file: string;
  readonly body: string;
}

/** What {@link migrate} would apply now, in order; changes nothing. */
export const pendingMigrations = async (options: MigrateOptions): Promise<PendingMigration[]> => {
  const folder = join(options.migrationsFolder ?? MIGRATIONS_FOLDER, 'committed');
  const client = new pg.Client({
    connectionString: options.connectionString,
    application_name: 'pgstrata migrate',
  });
  await client.connect();
  const applied = await appliedFiles(client);
  await client.end();
  const files = (await readdir(folder)).filter((name) => /^\d+.*\.sql$/.test(name)).toSorted();
  const pending = files.filter((name) => !applied.includes(`${/^\d+/.exec(name)?.[0]}.sql`));
  return Promise.all(
    pending.map(async (file) => ({ file, body: await readFile(join(folder, file), 'utf8') })),
  );
};

const appliedFiles = async (client: pg.Client): Promise<string[]> => {
  const known = await client.query<{ present: boolean }>(
    "select to_regclass('graphile_migrate.migrations') is not null as present",
  );
  if (!known.rows[0]?.present) return [];
  const { rows } = await client.query<{ filename: string }>(
    'select filename from graphile_migrate.migrations order by filename',
  );
  return rows.map((row) => row.filename);
};

/** Names the file and line an SQL error came from; graphile-migrate knows the file, PostgreSQL the position. */
const locate = async (thrown: unknown, folder: string): Promise<WarehouseError> => {
  const fault = thrown as { position?: string; code?: string; hint?: string; _gmMessageOverride?: string };
  const number = /of "(\d+)[^"]*\.sql"/.exec(fault._gmMessageOverride ?? '')?.[1];
  if (number === undefined || fault.position === undefined) {
    return new WarehouseError(
      'database',
      `the migration failed: ${messageOf(thrown)}`,
      sqlState(fault),
      thrown,
    );
  }
  const committed = join(folder, 'committed');
  const file = (await readdir(committed)).find((name) => name.startsWith(number)) ?? `${number}.sql`;
  const text = await readFile(join(committed, file), 'utf8');
  const place = placeInMigration(file, text, Number(fault.position));
  const message = `${place.file}:${place.line}: ${messageOf(thrown)}\n  ${place.text}\n  ${' '.repeat(place.column - 1)}^`;
  const remedy = fault.hint ?? 'Mend the SQL at the caret; nothing of this file was applied.';
  return new WarehouseError(
    'database',
    message,
    { ...sqlState(fault), file: place.file, line: place.line, remedy },
    thrown,
  );
};

const sqlState = (fault: { code?: string }): { sqlstate?: string } =>
  fault.code ? { sqlstate: fault.code } : {};

/** A line of a migration, or of the file under `sql/` that was included there. */
export interface MigrationPlace {
  readonly file: string;
  readonly line: number;
  readonly column: number;
  readonly text: string;
}

/** The place of a 1-based character position in a committed migration's body (its text without the `--!` header). */
export const placeInMigration = (file: string, fileText: string, position: number): MigrationPlace => {
  const header = /^(?:--! [^\n]*\n)*\n*/.exec(fileText)?.[0].length ?? 0;
  const before = fileText.slice(0, header + position - 1);
  const lines = before.split('\n');
  const column = (lines.at(-1)?.length ?? 0) + 1;
  const text = fileText.split('\n')[lines.length - 1] ?? '';
  for (let above = lines.length - 2; above >= 0; above--) {
    if (lines[above]?.startsWith('--! EndIncluded')) break;
    const included = /^--! Included (.+)$/.exec(lines[above] ?? '');
    if (included) return { file: `sql/${included[1]}`, line: lines.length - 1 - above, column, text };
  }
  return { file, line: lines.length, column, text };
};
