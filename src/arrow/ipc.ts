/** Incremental decoder of Flight data messages: one message in, at most one record batch out, metadata never drifts. */
import * as zlib from 'node:zlib';
import type { DataType, RecordBatch, RecordBatchStreamReader, Schema } from 'apache-arrow';
import { CompressionType, compressionRegistry, Message, RecordBatchReader, Type } from 'apache-arrow';
import { messageOf, WarehouseError } from '../runtime/errors.ts';
import { decodeLz4Frame } from './lz4.ts';
import { checkMessageShape } from './message-shape.ts';

/** Decodes the Arrow messages of one Flight stream in the order they come. */
export interface IpcDecoder {
  /** What the stream's schema message said; null before it came. */
  readonly schema: Schema | null;
  /**
   * Takes one message: `header` is `FlightData.data_header` (the flatbuffer `Message`), `body` its `data_body`.
   * Schema and dictionary messages, and a message without header (metadata only), return null.
   *
   * The batch shares the body's memory when that is 8-byte aligned: do not reuse it.
   *
   * @throws WarehouseError `protocol` for a corrupt or truncated message, or one out of order; then and from then on,
   * for the state behind it is lost. `data` for an Arrow type that cannot be read at all.
   */
  push(header: Uint8Array, body: Uint8Array): RecordBatch | null;
}

type RecordBatchHeader = ReturnType<Message<3>['header']>;

const corrupt = (what: string, cause?: unknown): WarehouseError =>
  new WarehouseError(
    'protocol',
    `cannot decode an Arrow message: ${what}`,
    { remedy: 'Reconnect; if it comes again, the server or a proxy damages the stream.' },
    cause,
  );

/** Types are plain records, so their JSON is their identity; `apache-arrow`'s own comparison ignores decimal scales. */
const signatureOf = (schema: Schema, index: number): string | undefined =>
  JSON.stringify(schema.fields[index]);

const requireSameSchema = (schema: Schema, incoming: Schema): void => {
  const count = Math.max(schema.fields.length, incoming.fields.length);
  for (let index = 0; index < count; index++) {
    if (signatureOf(schema, index) === signatureOf(incoming, index)) continue;
    const before = schema.fields[index];
    const now = incoming.fields[index];
    const column = (before ?? now)?.name ?? `#${index}`;
    throw new WarehouseError(
      'protocol',
      `the schema changed mid-stream at column "${column}": ${before ? String(before) : 'absent'} became ${now ? String(now) : 'absent'}`,
      { column, remedy: 'Restart the stream; it resumes from the last committed block with the new schema.' },
    );
  }
};

/** How many field nodes a column of this type takes in a record batch: itself and, depth first, its children. */
const nodeCount = (type: DataType): number => {
  // A dictionary column carries its indices only; its `children` are those of the dictionary's type.
  if (type.typeId === Type.Dictionary || !type.children) return 1;
  return type.children.reduce((sum, child) => sum + nodeCount(child.type), 1);
};

/** `apache-arrow` pads columns of the wrong length with nulls and reads past buffers as zeros: refuse both. */
const requireLayout = (batch: RecordBatchHeader, types: readonly DataType[], bodyBytes: number): void => {
  for (const { offset, length } of batch.buffers)
    if (!(offset >= 0 && length >= 0 && offset + length <= bodyBytes))
      throw corrupt(`a buffer ends at byte ${offset + length} of a body of ${bodyBytes}`);
  let node = 0;
  for (const type of types) {
    const rows = batch.nodes[node]?.length;
    if (rows !== batch.length) throw corrupt(`a column has ${rows} rows in a batch of ${batch.length}`);
    node += nodeCount(type);
  }
  if (node !== batch.nodes.length)
    throw corrupt(`${batch.nodes.length} field nodes where the schema has ${node}`);
};

/** `apache-arrow` puts typed arrays over a body as it is; they need 8-byte alignment, and no `Buffer` (its `slice` shares). */
const aligned = (bytes: Uint8Array): Uint8Array =>
  bytes.byteOffset % 8 === 0
    ? new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    : new Uint8Array(bytes);

const decodeZstd = (bytes: Uint8Array): Uint8Array => {
  // Looked up, not imported by name: Node before 22.15 lacks it, and must still start.
  if (typeof zlib.zstdDecompressSync !== 'function')
    throw new WarehouseError('protocol', 'the stream is ZSTD-compressed and this Node cannot read that', {
      remedy: 'Run Node 24, or switch off compression on the Flight server.',
    });
  return aligned(zlib.zstdDecompressSync(bytes));
};

/** apache-arrow keeps codecs in one registry per process; another library's encoder in it stays. */
const registerCodecs = (): void => {
  for (const [type, decode] of [
    [CompressionType.LZ4_FRAME, decodeLz4Frame],
    [CompressionType.ZSTD, decodeZstd],
  ] as const)
    compressionRegistry.set(type, { ...compressionRegistry.get(type), decode });
};

const EMPTY = new Uint8Array(0);

/** The byte source under the reader. It gives a chunk only when bytes are wanted, so the reader cannot run ahead. */
interface ChunkQueue extends IterableIterator<Uint8Array> {
  add(header: Uint8Array, body: Uint8Array): void;
}

const createChunkQueue = (): ChunkQueue => {
  let chunks: Uint8Array[] = [];
  let taken = 0;
  return {
    add(header, body) {
      if (taken === chunks.length) {
        chunks = [];
        taken = 0;
      }
      chunks.push(new Uint8Array(Int32Array.of(-1, header.length).buffer), header);
      if (body.length > 0) chunks.push(body);
    },
    next(wanted?: number) {
      if (wanted === 0) return { done: false, value: EMPTY };
      const value = chunks[taken++];
      if (value === undefined) throw corrupt('it ends early');
      return { done: false, value };
    },
    [Symbol.iterator]() {
      return this;
    },
  };
};

/** Makes a decoder for one stream; it holds the schema and the dictionaries seen so far. */
export const createIpcDecoder = (): IpcDecoder => {
  registerCodecs();
  const queue = createChunkQueue();
  let reader: RecordBatchStreamReader | null = null;
  let schema: Schema | null = null;
  let fieldTypes: readonly DataType[] = [];
  let failure: WarehouseError | null = null;
  const dictionariesSeen = new Set<number>();

  const acceptSchema = (message: Message<1>, header: Uint8Array): null => {
    const incoming: Schema = message.header();
    // The reader must not see a second schema message: it would forget the dictionaries.
    if (schema !== null) requireSameSchema(schema, incoming);
    else {
      queue.add(header, EMPTY);
      reader = RecordBatchReader.from(queue).open();
      schema = incoming;
      fieldTypes = incoming.fields.map((field) => field.type);
    }
    return null;
  };

  const acceptDictionary = (message: Message<2>, header: Uint8Array, body: Uint8Array): null => {
    const { id, data } = message.header();
    const type = schema?.dictionaries.get(id);
    if (type === undefined) throw corrupt(`a dictionary ${id} that no column uses`);
    requireLayout(data, [type], body.length);
    queue.add(header, body);
    dictionariesSeen.add(id);
    return null;
  };

  const acceptBatch = (message: Message<3>, header: Uint8Array, body: Uint8Array): RecordBatch => {
    const { length } = message.header();
    requireLayout(message.header(), fieldTypes, body.length);
    // apache-arrow would read such a column as nulls.
    for (const id of schema?.dictionaries.keys() ?? [])
      if (length > 0 && !dictionariesSeen.has(id)) throw corrupt(`rows came before their dictionary ${id}`);
    queue.add(header, body);
    // Reads the dictionaries queued before it, too.
    const result: IteratorResult<RecordBatch> | undefined = reader?.next();
    if (result === undefined || result.done === true) throw corrupt('the reader ended');
    return result.value;
  };

  const accept = (header: Uint8Array, body: Uint8Array): RecordBatch | null => {
    checkMessageShape(header);
    const message = Message.decode(header);
    if (!(message.bodyLength >= 0 && message.bodyLength <= body.length))
      throw corrupt(`a body of ${body.length} bytes where ${message.bodyLength} were promised`);
    if (message.isSchema()) return acceptSchema(message, header);
    if (schema === null) throw corrupt('data before the schema');
    const exact = aligned(body.subarray(0, message.bodyLength));
    if (message.isDictionaryBatch()) return acceptDictionary(message, header, exact);
    if (message.isRecordBatch()) return acceptBatch(message, header, exact);
    throw corrupt(`message type ${String(message.headerType)}`);
  };

  return {
    get schema() {
      return schema;
    },
    push(header, body) {
      if (failure !== null) throw failure;
      if (header.length === 0) return null;
      try {
        return accept(aligned(header), body);
      } catch (thrown) {
        // A flatbuffer has no checksum: reading a damaged one throws anything, a RangeError as well as a TypeError.
        failure = thrown instanceof WarehouseError ? thrown : corrupt(messageOf(thrown), thrown);
        throw failure;
      }
    },
  };
};
