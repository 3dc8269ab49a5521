/** The same balance rows in two layouts: pgstrata's, and the one that many use (text keys, numeric(18,2), five b-trees a leaf). */
import { pipeline } from 'node:stream/promises';
import { Readable } from 'node:stream';
import type { ClientBase } from 'pg';
import { from as copyFrom, to as copyTo } from 'pg-copy-streams';
import { createLeafOf } from '../../src/arrow/hash-leaf.ts';

/** How much there is. */
export const SHAPE = {
  weeks: 104,
  rows: 5_000_000,
  accounts: 200_000,
  activities: 100,
  hashedWeeks: 13,
} as const;

const FIRST_WEEK = Date.UTC(2024, 0, 7);
const WEEK_MS = 604_800_000;
const ROWS_PER_WEEK = Math.ceil(SHAPE.rows / SHAPE.weeks);
const LEAVES = 4;

/** Text of the instant a week begins. */
export const weekText = (week: number): string => new Date(FIRST_WEEK + week * WEEK_MS).toISOString();

/** Address number n, as text and in SQL. */
export const addressOf = (n: number): string => `0x${n.toString(16).padStart(8, '0').repeat(5)}`;

/** The two layouts, empty. */
export const createLayouts = async (client: ClientBase): Promise<void> => {
  await client.query(`insert into strata.assets (asset_id, network, standard, asset_key, decimals, observed, zero_sum)
    select n, 'bench', 'activity', 'activity_' || n, 2, false, false from generate_series(0, ${SHAPE.activities - 1}) n`);
  // What a loader hands over: rows in the order of time.
  await client.query(
    'create unlogged table public.arrival (week int, account int, activity int, at timestamptz, usd numeric)',
  );
  await client.query('create schema reference');
  await client.query(`create table reference.account_balances (
      "timestamp" timestamptz not null, account_address varchar(255) not null, usd_value decimal(18, 2) not null,
      activity_id text not null, data jsonb not null, primary key (account_address, "timestamp", activity_id)
    ) partition by range ("timestamp")`);
};

/** Rows of a week, as they arrive. Accounts come back with the same few activities; few are busy, most are quiet. */
const drawWeek = async (client: ClientBase, week: number): Promise<number> => {
  await client.query('truncate public.arrival');
  const { rowCount } = await client.query(`insert into public.arrival
    select distinct on (at, account, activity) ${week}, account, activity, at, usd from (
      select account, (account * 7 + n % 3 * 31) % ${SHAPE.activities} as activity,
             timestamptz '${weekText(week)}' + interval '1 hour' * floor(168.0 * n / ${ROWS_PER_WEEK}) as at, round((random() * 10000)::numeric, 2) as usd
        from (select n, floor(power(random(), 3) * ${SHAPE.accounts})::int as account from generate_series(0, ${ROWS_PER_WEEK - 1}) n) drawn
    ) rows order by at, account, activity`);
  return rowCount ?? 0;
};

const HEX = `repeat(lpad(to_hex(account), 8, '0'), 5)`;
const OURS = `select decode(${HEX}, 'hex'), activity::bigint, at, usd * 100, 1, usd, null::jsonb from public.arrival order by at`;
const REFERENCE = `select at, '0x' || ${HEX}, usd, 'activity_' || activity, '{}'::jsonb from public.arrival order by at`;

const inMemory = async (client: ClientBase, query: string): Promise<Buffer> => {
  const pieces: Buffer[] = [];
  for await (const piece of client.query(
    copyTo(`copy (${query}) to stdout (format binary)`),
  ) as AsyncIterable<Buffer>)
    pieces.push(piece);
  return Buffer.concat(pieces);
};

const HEADER_BYTES = 19;
const TRAILER = Buffer.from([0xff, 0xff]);
/** Bytes handed to the socket at a time. */
const CHUNK_BYTES = 256 * 1024;

function* chunks(bytes: Buffer): Generator<Buffer> {
  for (let at = 0; at < bytes.length; at += CHUNK_BYTES) yield bytes.subarray(at, at + CHUNK_BYTES);
}

const copyInto = (client: ClientBase, table: string, bytes: Buffer): Promise<void> =>
  pipeline(Readable.from(chunks(bytes)), client.query(copyFrom(`copy ${table} from stdin (format binary)`)));

/** Where the key of a tuple lies: behind the number of fields and the length of the first; account, asset and time with their lengths. */
const KEY = { from: 6, to: 6 + 20 + 4 + 8 + 4 + 8 } as const;
const ACCOUNT_BYTES = 20;

/** A COPY stream cut by the hash partition of its account, each part in the order of the key: what pgstrata's loaders do. */
const byLeaf = (bytes: Buffer): Buffer[] => {
  const leafOf = createLeafOf(LEAVES);
  const parts: Buffer[][] = Array.from({ length: LEAVES }, () => []);
  let at = HEADER_BYTES;
  for (let fields = bytes.readInt16BE(at); fields >= 0; fields = bytes.readInt16BE(at)) {
    const start = at;
    at += 2;
    for (let field = 0; field < fields; field++) at += 4 + Math.max(0, bytes.readInt32BE(at));
    parts[leafOf(bytes, start + KEY.from, start + KEY.from + ACCOUNT_BYTES)]!.push(bytes.subarray(start, at));
  }
  return parts.map((part) =>
    Buffer.concat([
      bytes.subarray(0, HEADER_BYTES),
      ...part.sort((a, b) => a.compare(b, KEY.from, KEY.to, KEY.from, KEY.to)),
      TRAILER,
    ]),
  );
};

const seconds = async (work: () => Promise<unknown>): Promise<number> => {
  const started = performance.now();
  await work();
  return (performance.now() - started) / 1000;
};

/** What loading a week spends its seconds on. */
export const PARTS = ['open', 'copy', 'keys', 'attach', 'commit'] as const;
export type PartSeconds = Readonly<Record<(typeof PARTS)[number], number>>;

/**
 * Loads the drawn week into pgstrata's layout as `ingest` loads a week of the past: into a week beside the set, keys after the rows,
 * then it is attached. Making its tables is counted here, and not for the reference.
 */
const loadOurs = async (client: ClientBase, week: number): Promise<PartSeconds> => {
  // Made beforehand, like the reference's bytes: in a stream it is part of the encoding, at millions of rows a second.
  const parts = byLeaf(await inMemory(client, OURS));
  let apart = '';
  let leaves: readonly { readonly leaf: string }[] = [];
  const open = await seconds(async () => {
    await client.query('begin');
    const { rows } = await client.query<{ apart: string }>(
      `select strata.build_week('account_balances', $1, false)::text as apart`,
      [weekText(week)],
    );
    apart = rows[0]!.apart;
    ({ rows: leaves } = await client.query<{ leaf: string }>(
      'select inhrelid::regclass::text as leaf from pg_inherits where inhparent = $1::regclass order by inhrelid',
      [apart],
    ));
  });
  const copy = await seconds(async () => {
    for (const [remainder, part] of parts.entries()) await copyInto(client, leaves[remainder]!.leaf, part);
  });
  const keys = await seconds(async () => {
    for (const table of [...leaves.map(({ leaf }) => leaf), apart])
      await client.query(`select strata.build_indexes_like('strata.account_balances', $1)`, [table]);
  });
  const attach = await seconds(() =>
    client.query(`select strata.attach_week('account_balances', $1, $2)`, [weekText(week), apart]),
  );
  return { open, copy, keys, attach, commit: await seconds(() => client.query('commit')) };
};

const REFERENCE_INDEXES = [
  '"timestamp"',
  'activity_id',
  'account_address',
  'account_address, "timestamp"',
  'activity_id, account_address',
];

/** The reference's partitions of a week, with their b-trees. */
const createReferenceWeek = async (client: ClientBase, week: number): Promise<void> => {
  const name = `reference.week_${week}`;
  await client.query(
    `create table ${name} partition of reference.account_balances for values from ('${weekText(week)}') to ('${weekText(week + 1)}') partition by hash (account_address)`,
  );
  for (let leaf = 0; leaf < LEAVES; leaf++) {
    await client.query(
      `create table ${name}_${leaf} partition of ${name} for values with (modulus ${LEAVES}, remainder ${leaf})`,
    );
    for (const columns of REFERENCE_INDEXES)
      await client.query(`create index on ${name}_${leaf} (${columns})`);
  }
};

/** Loads it into the reference: its partitions and their b-trees are there, and COPY goes through the root. */
const loadReference = async (client: ClientBase, week: number): Promise<number> => {
  const bytes = await inMemory(client, REFERENCE);
  await createReferenceWeek(client, week);
  return seconds(() => copyInto(client, 'reference.account_balances', bytes));
};

/** Rows of one INSERT, as batch inserters have them. */
const INSERT_ROWS = 1_000;
/** A week behind all others, which no question asks for. */
const INSERTED_WEEK = SHAPE.weeks;

/** Rows a second of the reference where they come by batched INSERT, as most that write to it do: of one week. */
export const insertReference = async (client: ClientBase): Promise<number> => {
  await drawWeek(client, INSERTED_WEEK);
  await createReferenceWeek(client, INSERTED_WEEK);
  const { rows } = await client.query<unknown[]>({ text: REFERENCE, rowMode: 'array' });
  const spent = await seconds(async () => {
    for (let from = 0; from < rows.length; from += INSERT_ROWS) {
      const batch = rows.slice(from, from + INSERT_ROWS);
      const places = batch.map(
        (row, at) => `(${row.map((_, field) => `$${at * row.length + field + 1}`).join(', ')})`,
      );
      await client.query(
        `insert into reference.account_balances values ${places.join(', ')} on conflict do nothing`,
        batch.flat(),
      );
    }
  });
  return rows.length / spent;
};

/** Rows of a week, and the seconds that loading them took. */
export interface LoadCost {
  readonly rows: number;
  readonly ours: PartSeconds;
  readonly reference: number;
}

/** Draws a week and loads it into both, the one that begins alternating. */
export const loadWeek = async (client: ClientBase, week: number): Promise<LoadCost> => {
  const rows = await drawWeek(client, week);
  if (week % 2 === 0) {
    const ours = await loadOurs(client, week);
    return { rows, ours, reference: await loadReference(client, week) };
  }
  const reference = await loadReference(client, week);
  return { rows, ours: await loadOurs(client, week), reference };
};

/** Builds the one index beside the key that questions about one activity (or asset) ask for; it is in every figure. */
export const indexActivities = (client: ClientBase): Promise<number> =>
  seconds(() => client.query('create index account_balances_asset on strata.account_balances (asset_id)'));

/** As the scheduler leaves it after so many weeks: old weeks are one table each, the state is there, all is vacuumed. */
export const settle = async (client: ClientBase, weeks: number): Promise<void> => {
  for (let week = 0; week < weeks - SHAPE.hashedWeeks; week++) {
    const { rows } = await client.query(
      `select from strata.week_info('account_balances') w where w.lower_bound = $1 and w.kind = 'hash'`,
      [weekText(week)],
    );
    if (rows.length > 0)
      await client.query(`select strata.consolidate_week('account_balances', strata.week_key($1))`, [
        weekText(week),
      ]);
  }
  await client.query(`select strata.ensure_weeks('balance_changes', $1, $2)`, [
    weekText(0),
    weekText(weeks - 1),
  ]);
  await client.query(`select strata.rebuild_state()`);
  await client.query('update strata.balance_status set stale = false');
  await client.query('vacuum (analyze) strata.account_balances');
  await client.query('vacuum (analyze) strata.account_balances_current');
  await client.query('vacuum (analyze) reference.account_balances');
  await client.query('checkpoint');
};

/** Bytes of a partitioned table with its indexes. */
export const bytesOf = async (client: ClientBase, table: string): Promise<number> => {
  const { rows } = await client.query<{ bytes: string }>(
    `select sum(pg_total_relation_size(t.relid))::text as bytes from pg_partition_tree($1::regclass) t where t.isleaf`,
    [table],
  );
  return Number(rows[0]!.bytes);
};
