/** Record batches as the header and body of Flight messages, made on demand or kept ready. */
import { RecordBatchStreamWriter, Schema } from 'apache-arrow';
import type { Field, RecordBatch } from 'apache-arrow';
import { WarehouseError } from '../runtime/errors.ts';
import { emptyBatch, project } from './columns.ts';
import { alignedSpans } from './microbatch.ts';
import type { ChainView, TableShape } from './source.ts';
import type { OutputColumn, Query } from './sql.ts';

/** An Arrow message: the flatbuffer and its body. */
export interface Piece {
  readonly header: Uint8Array;
  readonly body: Uint8Array;
}

/** Pieces that were made ahead, by table, columns, span and the hash of the span's last block. */
export type PieceCache = Map<string, Piece>;

/** Makes the Arrow messages of one query. */
export interface ResultEncoder {
  readonly schema: Piece;
  /** A record batch of no rows. */
  readonly empty: Piece;
  /** The query's rows in blocks `from`..`to`, both inclusive, cut into messages; none where no row is asked for. */
  readonly pieces: (view: ChainView, from: number, to: number) => Generator<Piece, void, undefined>;
  /** The same, at most `limit` rows. */
  readonly limited: (
    view: ChainView,
    from: number,
    to: number,
    limit: number,
  ) => Generator<Piece, void, undefined>;
  /** Makes all pieces of a span now and keeps them. */
  readonly preload: (view: ChainView, from: number, to: number) => void;
}

/** Continuation marker and length before each IPC message. */
const PREFIX_BYTES = 8;

const messageAt = (
  stream: Buffer,
  position: number,
): { readonly header: Uint8Array; readonly end: number } => {
  const start = position + PREFIX_BYTES;
  const end = start + stream.readUInt32LE(position + 4);
  return { header: stream.subarray(start, end), end };
};

/** An IPC stream of one batch is: schema message, batch message, body, end marker. */
const encodeBatch = (batch: RecordBatch): { readonly schema: Piece; readonly batch: Piece } => {
  const bytes = new RecordBatchStreamWriter().writeAll([batch]).toUint8Array(true);
  const stream = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const schema = messageAt(stream, 0);
  const message = messageAt(stream, schema.end);
  const body = stream.subarray(message.end, stream.length - PREFIX_BYTES);
  return {
    schema: { header: schema.header, body: new Uint8Array(0) },
    batch: { header: message.header, body },
  };
};

const fieldOf = (shape: TableShape, { source, name }: OutputColumn): Field => {
  const field = shape.schema.fields.find((candidate) => candidate.name === source);
  if (field === undefined) throw new WarehouseError('internal', `The devnet lost its column ${source}.`);
  return field.clone({ name });
};

/** Message of about `rowsPerMessage` rows, always of whole blocks. */
const blocksPerMessage = (
  view: ChainView,
  table: string,
  lastBlock: number,
  rowsPerMessage: number,
): number => Math.max(1, Math.floor(rowsPerMessage / Math.max(1, view.rowsIn(table, lastBlock, lastBlock))));

/** An encoder for one query; `cache` is read always and written by `preload` only. */
export const createResultEncoder = (
  shape: TableShape,
  query: Query,
  rowsPerMessage: number,
  cache: PieceCache,
): ResultEncoder => {
  const { table, columns, blocks } = query;
  const schema = new Schema(columns.map((column) => fieldOf(shape, column)));
  const sources = columns.map(({ source }) => source);
  const shown = columns.map(({ source, name }) => `${source} ${name}`).join();
  const select = (view: ChainView, from: number, to: number): RecordBatch =>
    project(view.batch(table, from, to), schema, sources);
  const keyOf = (view: ChainView, from: number, to: number): string =>
    `${table}|${shown}|${from}|${to}|${view.hashOf(to)}`;

  function* spans(
    view: ChainView,
    from: number,
    to: number,
  ): Generator<{ from: number; to: number }, void, undefined> {
    const size = blocksPerMessage(view, table, to, rowsPerMessage);
    for (const wanted of blocks) {
      for (const span of alignedSpans(Math.max(from, wanted.from), Math.min(to, wanted.to), size)) {
        if (view.rowsIn(table, span.from, span.to) > 0) yield span;
      }
    }
  }

  const none = encodeBatch(project(emptyBatch(shape.schema), schema, sources));
  return {
    schema: none.schema,
    empty: none.batch,
    *pieces(view, from, to) {
      for (const span of spans(view, from, to)) {
        yield (
          cache.get(keyOf(view, span.from, span.to)) ?? encodeBatch(select(view, span.from, span.to)).batch
        );
      }
    },
    *limited(view, from, to, limit) {
      let left = limit;
      for (const span of spans(view, from, to)) {
        if (left <= 0) return;
        const batch = select(view, span.from, span.to).slice(0, left);
        left -= batch.numRows;
        yield encodeBatch(batch).batch;
      }
    },
    preload(view, from, to) {
      for (const span of spans(view, from, to)) {
        cache.set(keyOf(view, span.from, span.to), encodeBatch(select(view, span.from, span.to)).batch);
      }
    },
  };
};
