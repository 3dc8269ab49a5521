/** An adoption: every name and statement that making a managed set of a table needs. The journal keeps it, so that a crash can be resumed or undone. */
import { createHash } from 'node:crypto';
import { sql } from 'kysely';
import { on, type Client, type Pool } from '../../../db/query.ts';
import { identifier } from '../../../db/quote.ts';
import { WarehouseError } from '../../../runtime/errors.ts';
import { readColumns, type CopyColumns, type CopySpec } from '../consolidate/copy-spec.ts';
import { HELD_SCHEMA } from '../consolidate/week.ts';
import { planKeys, type AdoptedIndex, type Obstacle } from './keys.ts';
import { findTable, readIndexes, readSequences, type SequenceInfo, type TableName } from './table.ts';

/** What to make of which table. */
export interface AdoptRequest {
  /** Its name, with a schema where that is needed; as in SQL. */
  readonly table: string;
  /** The column of type timestamptz that says which week a row belongs to. */
  readonly time: string;
  /** The column whose hash spreads a week's rows over its partitions. */
  readonly hash: string;
  /** Hash partitions per week; 4. */
  readonly modulus?: number;
  /** Name of the set; that of the table by default, with its schema where there is such a set. At most 39 bytes. */
  readonly set?: string;
  /** Columns that know a row where no unique index says so. */
  readonly key?: readonly string[];
  /** Make ordinary indexes of unique ones that partitions cannot keep. */
  readonly relaxUnique?: boolean;
}

/** A sequence of the table. */
export interface AdoptedSequence extends SequenceInfo {
  /** The identity sequence of the partitioned table, until it takes the other's name. */
  readonly made: string;
}

/** An adoption; names that end in `Name` are as they are, all others ready to stand in SQL. */
export interface Adoption {
  readonly set: string;
  readonly schemaName: string;
  readonly tableName: string;
  readonly rootName: string;
  readonly timeName: string;
  readonly hashName: string;
  readonly modulus: number;
  readonly fillfactor: number | null;
  readonly hold: string;
  readonly schema: string;
  /** The table, where it is before; afterwards the partitioned table has this name. */
  readonly source: string;
  /** The partitioned table, where it is before. */
  readonly root: string;
  /** The table, where it is afterwards. */
  readonly held: string;
  readonly keys: readonly string[];
  readonly indexes: readonly AdoptedIndex[];
  readonly sequences: readonly AdoptedSequence[];
  /** Table → partitioned table, before. */
  readonly forward: CopySpec;
  /** Partitioned table → held table, afterwards. */
  readonly backward: CopySpec;
}

/** An adoption that was thought of, and what was found on the way. */
export interface Drafted {
  readonly adoption: Adoption;
  readonly table: TableName;
  readonly fingerprint: string;
  readonly dependents: readonly Dependent[];
  readonly notes: readonly string[];
  readonly obstacles: readonly Obstacle[];
}

/** A view, a rule of one, or a function, that has to be made again. */
export interface Dependent {
  readonly kind: 'view' | 'rule' | 'function';
  readonly name: string;
  readonly locking: string | null;
  readonly statement: string;
}

const HOLD = '7 days';
const MODULUS = 4;
const SET_NAME_BYTES_MAX = 39;

/**
 * Drafts an adoption; reads the catalog only.
 *
 * @throws WarehouseError `usage` when the table or a name cannot be found or used
 */
export const draftAdoption = async (database: Pool | Client, request: AdoptRequest): Promise<Drafted> => {
  const table = await findTable(database, request.table);
  const set = await chooseSet(database, table, request.set);
  const names = nameAll(set, table);
  const keyPlan = planKeys(await readIndexes(database, table), {
    qualified: names.source,
    root: names.root,
    prefix: names.rootName,
    schema: table.schema,
    table: table.table,
    time: request.time,
    hash: request.hash,
    key: request.key,
    relaxUnique: request.relaxUnique ?? false,
  });
  const obstacles = await readObstacles(database, names.source, request.time, request.hash);
  const { fingerprint, fillfactor } = await readState(database, table);
  const adoption = describe(names, request, {
    ...(await readColumns(database, names.source, keyPlan.key)),
    indexes: keyPlan.indexes,
    sequences: (await readSequences(database, table)).map((sequence, place) => ({
      ...sequence,
      made: `${names.rootName}_seq_${place}`,
    })),
    fillfactor,
  });
  return {
    adoption,
    table,
    fingerprint,
    dependents: await readDependents(database, names.source),
    notes: keyPlan.notes,
    obstacles: [
      ...obstacles,
      ...keyPlan.obstacles,
      ...(await readKeyObstacles(
        database,
        adoption,
        request.key,
        obstacles.length === 0 && keyPlan.unproven,
      )),
      ...(await readTakenNames(database, table.oid, adoption)),
    ],
  };
};

type Names = Pick<
  Adoption,
  'set' | 'schemaName' | 'tableName' | 'rootName' | 'schema' | 'source' | 'root' | 'held'
>;

const nameAll = (set: string, { schema, table }: TableName): Names => {
  const rootName = `${set}_adopting`;
  const at = (place: string, name: string): string => `${identifier(place)}.${identifier(name)}`;
  return {
    set,
    schemaName: schema,
    tableName: table,
    rootName,
    schema: identifier(schema),
    source: at(schema, table),
    root: at(schema, rootName),
    held: at(HELD_SCHEMA, table),
  };
};

const describe = (
  names: Names,
  { time, hash, modulus = MODULUS }: AdoptRequest,
  parts: CopyColumns & Pick<Adoption, 'indexes' | 'sequences' | 'fillfactor'>,
): Adoption => {
  const { source, root, held, set } = names;
  const { keys, columns, contents } = parts;
  const both = { keys, columns, contents, source, parts: [source] };
  const log = (name: string): string => `${identifier(HELD_SCHEMA)}.${identifier(`${set}_${name}`)}`;
  return {
    ...names,
    keys,
    indexes: parts.indexes,
    sequences: parts.sequences,
    fillfactor: parts.fillfactor,
    timeName: time,
    hashName: hash,
    modulus,
    hold: HOLD,
    forward: { ...both, target: root, log: log('adopt') },
    backward: { ...both, target: held, log: log('adopted'), trigger: 'strata_adopted' },
  };
};

const readState = async (
  database: Pool | Client,
  { oid }: TableName,
): Promise<{ readonly fingerprint: string; readonly fillfactor: number | null }> => {
  const { rows } = await sql<{ fingerprint: string; fillfactor: number | null }>`
    select strata.table_fingerprint(c.oid) as fingerprint,
           (select o.option_value::int from pg_options_to_table(c.reloptions) o where o.option_name = 'fillfactor') as fillfactor
      from pg_class c where c.oid = ${oid}::oid`.execute(on(database));
  return rows[0] ?? { fingerprint: '', fillfactor: null };
};

/** Fingerprint of what an adoption rests on. */
export const basisOfDraft = ({ adoption, fingerprint, dependents }: Drafted): string =>
  createHash('sha256')
    .update(JSON.stringify([adoption, fingerprint, dependents]))
    .digest('hex')
    .slice(0, 16);

const chooseSet = async (
  database: Pool | Client,
  { schema, table }: TableName,
  asked: string | undefined,
): Promise<string> => {
  const { rows } = await sql<{ set_name: string }>`select set_name from strata.partition_sets`.execute(
    on(database),
  );
  const taken = new Set(rows.map((row) => row.set_name));
  const candidates = asked === undefined ? [table, `${schema}_${table}`] : [asked];
  const free = candidates.find((name) => !taken.has(name) && Buffer.byteLength(name) <= SET_NAME_BYTES_MAX);
  if (free !== undefined && free !== '') return free;
  throw new WarehouseError(
    'usage',
    `${candidates.map((name) => JSON.stringify(name)).join(' and ')} cannot be the name of the set: taken, empty, or longer than ${SET_NAME_BYTES_MAX} bytes`,
    { remedy: 'Choose another with --set; the partitions are named after it.' },
  );
};

/** What the catalog says against it. */
export const readObstacles = async (
  database: Pool | Client,
  qualified: string,
  time: string,
  hash: string,
): Promise<readonly Obstacle[]> => {
  const { rows } = await sql<Obstacle>`
    select obstacle, remedy from strata.adoption_obstacles(${qualified}::regclass, ${time}, ${hash})`.execute(
    on(database),
  );
  return rows;
};

/** Views, rules and functions that are tied to the table of that name. */
export const readDependents = async (
  database: Pool | Client,
  qualified: string,
): Promise<readonly Dependent[]> => {
  const { rows } = await sql<Dependent>`
    select kind, name, locking, statement from strata.adoption_dependents(${qualified}::regclass)`.execute(
    on(database),
  );
  return rows;
};

/** Columns of a key that was named: there, NOT NULL, and, where no index keeps them so, unique. */
const readKeyObstacles = async (
  database: Pool | Client,
  { source, keys }: Adoption,
  asked: readonly string[] | undefined,
  count: boolean,
): Promise<readonly Obstacle[]> => {
  if (asked === undefined) return [];
  const { rows } = await sql<Obstacle>`
    select format('key column %I %s', w.name, case when a.attname is null then 'does not exist' else 'may be NULL' end) as obstacle,
           case when a.attname is null then 'Name columns of the table with --key.'
             else format('ALTER TABLE %s ALTER COLUMN %I SET NOT NULL;', ${source}::text, w.name) end as remedy
      from unnest(${[...asked]}::text[]) w(name)
      left join pg_attribute a on a.attrelid = ${source}::regclass and a.attname = w.name and a.attnum > 0
     where a.attnotnull is not true`.execute(on(database));
  if (rows.length > 0 || !count) return rows;
  const twice = await database.query<{ twice: number }>(
    `select count(*) as twice from (select from ${source} group by ${keys.slice(0, asked.length).join(', ')} having count(*) > 1) d`,
  );
  const keysTwice = twice.rows[0]?.twice ?? 0;
  if (keysTwice === 0) return [];
  return [
    {
      obstacle: `${keysTwice} keys of (${asked.join(', ')}) are there more than once`,
      remedy: 'Name columns that are unique with --key.',
    },
  ];
};

/** Names that the adoption needs and that are taken. */
const readTakenNames = async (
  database: Pool | Client,
  oid: number,
  { set, schemaName, tableName, rootName, indexes, sequences }: Adoption,
): Promise<readonly Obstacle[]> => {
  const { rows } = await sql<{ name: string }>`
    with own as (select i.indexrelid as oid from pg_index i where i.indrelid = ${oid}::oid)
    select format('%I.%I', n.nspname, c.relname) as name
      from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where n.nspname = ${HELD_SCHEMA}
       and (c.relname = any (${[tableName, `${set}_adopt`, `${set}_adopted`, ...sequences.map(({ name }) => name)]}::text[])
            or c.relname in (select x.relname from own o join pg_class x on x.oid = o.oid))
        or n.nspname = ${schemaName} and c.oid not in (select o.oid from own o)
       and (starts_with(c.relname::text, ${rootName}) or c.relname = any (${indexes.map(({ name }) => name)}::text[])
            or starts_with(c.relname::text, ${`${set}_`}) and c.relname ~ '_\\d{4}_\\d{2}_\\d{2}$')
     order by 1 limit 5`.execute(on(database));
  const captured = await sql<{ name: string }>`
    select t.tgname as name from pg_trigger t where t.tgrelid = ${oid}::oid and t.tgname like 'strata\\_%'`.execute(
    on(database),
  );
  return [
    ...rows.map(({ name }) => ({
      obstacle: `there is a ${name} already`,
      remedy: 'Rename or drop it, or choose another name for the set with --set.',
    })),
    ...captured.rows.map(({ name }) => ({
      obstacle: `the table has the trigger ${name} of an adoption that was broken off`,
      remedy: 'Run the same command again: what was broken off is resumed or taken away first.',
    })),
  ];
};
