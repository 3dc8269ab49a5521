/**
 * Label tables of ordinary size are joined on the way into the COPY: PostgreSQL gives their fields as COPY BINARY has them, and
 * rows get them appended. A stage and a join in SQL would more than double what the server has to do.
 */
import type { RecordBatch } from 'apache-arrow';
import { sql } from 'kysely';
import type { RowTail } from '../../arrow/copy.ts';
import { accountField } from '../../arrow/fields.ts';
import { on, type Client } from '../../db/query.ts';
import type { JoinedColumn } from './joins.ts';
import { createLabelIndex, type LabelIndex } from './label-index.ts';
import type { LabelType } from './column-types.ts';
import { KEY_COLUMN, labelTable, requireLabels } from './registry.ts';

/** A join as rows see it. */
export interface MemoryJoin {
  readonly label: string;
  readonly inner: boolean;
  /** The query's column of the account. */
  readonly source: string;
  /** `target`'s type is the type of the stream's table. */
  readonly columns: readonly JoinedColumn[];
}

/** Rows of one batch that found no label. */
export interface Misses {
  unmatched: number;
  dropped: number;
}

/** The labels of one write: of one generation each. */
export interface LabelTails {
  /** What stands behind the fields of each row of a batch. */
  tailOf(batch: RecordBatch, batchId: bigint): RowTail;
  /** What was missing so far, by batch. */
  readonly misses: ReadonlyMap<bigint, Misses>;
}

/** Labels kept in memory, loaded anew whenever they were replaced. */
export interface LabelMemory {
  /** The labels as they are now; null when they are too large to be kept. */
  open(client: Client): Promise<LabelTails | null>;
}

/** Bytes of keys and fields of one label table at most; larger ones are joined in SQL. About half a million labels. */
export const LABEL_MEMORY_BYTES = 32 * 1024 * 1024;

/** The functions by which COPY BINARY writes. */
const SEND: Readonly<Record<LabelType, string>> = {
  boolean: 'boolsend',
  bigint: 'int8send',
  numeric: 'numeric_send',
  date: 'date_send',
  timestamptz: 'timestamptz_send',
  text: 'textsend',
  bytea: 'byteasend',
};

/** Labels come in pieces of so many: one text of all of them would be held several times over. */
const PIECE_LABELS = 8192;

const NULL_FIELD_BYTES = 4;
/** Shorter pieces are copied faster byte by byte than by a call. */
const LOOP_BYTES_MAX = 64;

interface Kept {
  readonly version: string;
  /** Null: too large. */
  readonly index: LabelIndex | null;
}

/** @param maxBytes {@link LABEL_MEMORY_BYTES} */
export const createLabelMemory = (
  joins: readonly MemoryJoin[],
  maxBytes = LABEL_MEMORY_BYTES,
): LabelMemory => {
  let kept: readonly Kept[] = [];
  return {
    open: async (client) => {
      const versions = await versionsOf(client, joins);
      const next: Kept[] = [];
      for (const [place, join] of joins.entries()) {
        const known = kept[place];
        const isSame = known !== undefined && known.version === versions[place];
        next.push(isSame ? known : await read(client, join, maxBytes));
      }
      kept = next;
      const indices = kept.flatMap(({ index }) => (index === null ? [] : [index]));
      return indices.length < joins.length ? null : createTails(joins, indices);
    },
  };
};

const versionsOf = async (client: Client, joins: readonly MemoryJoin[]): Promise<(string | undefined)[]> => {
  const { rows } = await sql<{ name: string; version: string }>`
    select label_name as name, loaded_at::text as version from strata.labels
     where label_name in (${sql.join(joins.map(({ label }) => label))})`.execute(on(client));
  const versions = new Map(rows.map(({ name, version }) => [name, version]));
  return joins.map(({ label }) => versions.get(label));
};

const lengthAnd = (bytes: ReturnType<typeof sql>) => sql`int4send(octet_length(${bytes})) || ${bytes}`;

const read = async (client: Client, { label, columns }: MemoryJoin, maxBytes: number): Promise<Kept> => {
  await requireLabels(client, label);
  const fields = columns.map(({ source, type }) => {
    const sent = sql`${sql.raw(SEND[type])}(${sql.id(source)}::${sql.raw(type)})`;
    return sql`coalesce(${lengthAnd(sent)}, int4send(-1))`;
  });
  const all = fields.length === 0 ? sql`''::bytea` : sql.join(fields, sql` || `);
  const key = sql.id(KEY_COLUMN);
  const labels = sql`(select ${key} as key, ${all} as fields from ${labelTable(label)}) l`;
  const version = sql`(select loaded_at::text from strata.labels where label_name = ${label})`;
  const size = await sql<{ version: string; fits: boolean }>`
    select ${version} as version, pg_table_size(${sql.lit(`strata.labels_${label}`)}::regclass) <= ${maxBytes}::bigint
       and (select sum(octet_length(key) + octet_length(fields)) from ${labels}) <= ${maxBytes}::bigint as fits`.execute(
    on(client),
  );
  const [found] = size.rows;
  if (found?.fits !== true) return { version: found?.version ?? '', index: null };
  // Version and labels in one statement, hence of one snapshot.
  const { rows } = await sql<{ version: string; bytes: Buffer }>`
    select ${version} as version, string_agg(${lengthAnd(sql`key`)} || ${lengthAnd(sql`fields`)}, ''::bytea) as bytes
      from (select *, row_number() over () / ${PIECE_LABELS} as piece from ${labels}) p group by piece`.execute(
    on(client),
  );
  const index = createLabelIndex(Buffer.concat(rows.map(({ bytes }) => bytes)));
  return { version: rows[0]?.version ?? found.version, index };
};

const createTails = (joins: readonly MemoryJoin[], indices: readonly LabelIndex[]): LabelTails => {
  const misses = new Map<bigint, Misses>();
  const fields = joins.reduce((sum, { columns }) => sum + columns.length, 0);
  return {
    misses,
    tailOf: (batch, batchId) => {
      const places = joins.map((join, index) => placesOf(batch, join.source, indices[index]!));
      const counted = countMisses(joins, places, batch.numRows);
      if (counted.unmatched > 0) {
        const before = misses.get(batchId) ?? { unmatched: 0, dropped: 0 };
        misses.set(batchId, {
          unmatched: before.unmatched + counted.unmatched,
          dropped: before.dropped + counted.dropped,
        });
      }
      const inner = places.filter((_places, index) => joins[index]!.inner);
      return {
        fields,
        takes: inner.length === 0 ? null : (row) => inner.every((ofJoin) => ofJoin[row]! >= 0),
        bound: (first, last) => {
          let bytes = 0;
          for (const [index, ofJoin] of places.entries())
            bytes += boundOf(indices[index]!, ofJoin, first, last);
          return bytes + (last - first) * fields * NULL_FIELD_BYTES;
        },
        write: (row, out, view, start) => {
          let at = start;
          for (let index = 0; index < places.length; index++)
            at = writeFields(
              indices[index]!,
              places[index]![row]!,
              joins[index]!.columns.length,
              out,
              view,
              at,
            );
          return at;
        },
      };
    },
  };
};

/** The place of each row's label; −1 where it has none. */
const placesOf = (batch: RecordBatch, source: string, index: LabelIndex): Int32Array => {
  const account = accountField(batch, source);
  const places = new Int32Array(batch.numRows).fill(-1);
  for (let row = 0; row < places.length; row++) {
    if (account.isNull(row)) continue;
    account.seek(row);
    places[row] = index.find(account.bytes, account.start, account.end);
  }
  return places;
};

const countMisses = (joins: readonly MemoryJoin[], places: readonly Int32Array[], rows: number): Misses => {
  const counted = { unmatched: 0, dropped: 0 };
  for (let row = 0; row < rows; row++) {
    let isUnmatched = false;
    let isDropped = false;
    for (let join = 0; join < joins.length; join++) {
      if (places[join]![row]! >= 0) continue;
      isUnmatched = true;
      isDropped ||= joins[join]!.inner;
    }
    if (isUnmatched) counted.unmatched++;
    if (isDropped) counted.dropped++;
  }
  return counted;
};

const boundOf = (index: LabelIndex, places: Int32Array, first: number, last: number): number => {
  let bytes = 0;
  for (let row = first; row < last; row++) {
    const place = places[row]!;
    if (place >= 0) bytes += index.fieldsEnd(place) - index.fieldsStart(place);
  }
  return bytes;
};

const writeFields = (
  index: LabelIndex,
  place: number,
  fields: number,
  out: Uint8Array,
  view: DataView,
  start: number,
): number => {
  let at = start;
  if (place < 0) {
    for (let field = 0; field < fields; field++, at += NULL_FIELD_BYTES) view.setInt32(at, -1);
    return at;
  }
  const { bytes } = index;
  const from = index.fieldsStart(place);
  const to = index.fieldsEnd(place);
  if (to - from > LOOP_BYTES_MAX) {
    out.set(bytes.subarray(from, to), at);
    return at + to - from;
  }
  for (let byte = from; byte < to; byte++) out[at++] = bytes[byte]!;
  return at;
};
