/** Checks the flatbuffer of an Arrow message before `apache-arrow` reads it, which trusts every length it finds. */
import { WarehouseError } from '../runtime/errors.ts';

/*
 * A flatbuffer is tables that point at their fields through a vtable. `apache-arrow` reads one without a verifier: a
 * damaged vector length makes it allocate until the process dies. Here every vector must lie inside the message. A
 * position outside makes DataView throw a RangeError, which the decoder reports as a corrupt message.
 */

/** Field numbers, from Arrow's Message.fbs and Schema.fbs. */
const MESSAGE = { headerType: 1, header: 2, metadata: 4 } as const;
const SCHEMA = { fields: 1, metadata: 2, features: 3 } as const;
const FIELD = { name: 0, typeType: 2, type: 3, children: 5, metadata: 6 } as const;
const RECORD_BATCH = { nodes: 1, buffers: 2, variadicCounts: 4 } as const;
const DICTIONARY_BATCH = { data: 1 } as const;
const UNION = { typeIds: 1 } as const;

const HEADER_TYPE = { schema: 1, dictionaryBatch: 2, recordBatch: 3 } as const;

const UNION_TYPE = 14;

/** Types of the format that `apache-arrow` cannot read. */
const UNREADABLE: Readonly<Record<number, string>> = {
  22: 'RunEndEncoded',
  25: 'ListView',
  26: 'LargeListView',
};

/** Position of a table's field, or 0 when it is absent. */
const fieldAt = (view: DataView, table: number, field: number): number => {
  const vtable = table - view.getInt32(table, true);
  const slot = 4 + 2 * field;
  if (slot >= view.getUint16(vtable, true)) return 0;
  const offset = view.getUint16(vtable + slot, true);
  return offset === 0 ? 0 : table + offset;
};

/** What an offset field points at: a table, a vector or a string; 0 when it is absent. */
const targetOf = (view: DataView, table: number, field: number): number => {
  const at = fieldAt(view, table, field);
  return at === 0 ? 0 : at + view.getUint32(at, true);
};

/** Count of a vector's elements, all of them inside the message. */
const countOf = (view: DataView, table: number, field: number, elementBytes: number): number => {
  const vector = targetOf(view, table, field);
  if (vector === 0) return 0;
  const count = view.getUint32(vector, true);
  if (vector + 4 + count * elementBytes > view.byteLength)
    throw new RangeError(`a vector of ${count} elements in a header of ${view.byteLength} bytes`);
  return count;
};

const checkRecordBatch = (view: DataView, table: number): void => {
  countOf(view, table, RECORD_BATCH.nodes, 16);
  countOf(view, table, RECORD_BATCH.buffers, 16);
  countOf(view, table, RECORD_BATCH.variadicCounts, 8);
};

const nameOf = (view: DataView, table: number): string => {
  const at = targetOf(view, table, FIELD.name);
  if (at === 0) return '';
  return Buffer.from(view.buffer, view.byteOffset + at + 4, view.getUint32(at, true)).toString('utf8');
};

const unreadable = (column: string, type: string): WarehouseError =>
  new WarehouseError('data', `column "${column}" has the Arrow type ${type}, which cannot be read`, {
    column,
    remedy: 'Cast the column to a plain type in the query.',
  });

/** Checks the fields of a schema or the children of a field; returns how many more may follow. */
const checkFields = (view: DataView, table: number, slot: number, column: string, budget: number): number => {
  const count = countOf(view, table, slot, 4);
  const vector = targetOf(view, table, slot);
  // A cycle of offsets would be endless: there cannot be more fields than bytes.
  let left = budget - count;
  if (left < 0) throw new RangeError('more fields than the header has room for');
  for (let index = 0; index < count; index++) {
    const at = vector + 4 + 4 * index;
    const field = at + view.getUint32(at, true);
    const path = column === '' ? nameOf(view, field) : column;
    const typeAt = fieldAt(view, field, FIELD.typeType);
    const type = typeAt === 0 ? 0 : view.getUint8(typeAt);
    const unreadableName = UNREADABLE[type];
    if (unreadableName !== undefined) throw unreadable(path, unreadableName);
    if (type === UNION_TYPE) countOf(view, targetOf(view, field, FIELD.type), UNION.typeIds, 4);
    countOf(view, field, FIELD.metadata, 4);
    left = checkFields(view, field, FIELD.children, path, left);
  }
  return left;
};

const checkSchema = (view: DataView, table: number): void => {
  countOf(view, table, SCHEMA.metadata, 4);
  countOf(view, table, SCHEMA.features, 8);
  checkFields(view, table, SCHEMA.fields, '', view.byteLength);
};

/**
 * Checks that every vector of the message lies inside it, and that every type can be read.
 *
 * @throws RangeError when the message is damaged
 * @throws WarehouseError `data`, naming the column, for a type that `apache-arrow` cannot read
 */
export const checkMessageShape = (header: Uint8Array): void => {
  const view = new DataView(header.buffer, header.byteOffset, header.byteLength);
  const message = view.getUint32(0, true);
  countOf(view, message, MESSAGE.metadata, 4);
  const typeAt = fieldAt(view, message, MESSAGE.headerType);
  const table = targetOf(view, message, MESSAGE.header);
  if (typeAt === 0 || table === 0) throw new RangeError('a message without a header');
  switch (view.getUint8(typeAt)) {
    case HEADER_TYPE.schema:
      return checkSchema(view, table);
    case HEADER_TYPE.dictionaryBatch:
      return checkRecordBatch(view, targetOf(view, table, DICTIONARY_BATCH.data));
    case HEADER_TYPE.recordBatch:
      return checkRecordBatch(view, table);
    default:
      throw new RangeError(`message type ${view.getUint8(typeAt)}`);
  }
};
