/** Record batches as the messages a Flight server sends: header and body apart. */
import type { RecordBatch } from 'apache-arrow';
import { Message, RecordBatchStreamWriter } from 'apache-arrow';
import type { CompressionType } from 'apache-arrow';

/** `FlightData.data_header` and `data_body`. */
export interface FlightMessage {
  readonly header: Uint8Array;
  readonly body: Uint8Array;
}

/** Cuts an Arrow IPC stream into its messages. */
const splitStream = (stream: Uint8Array): readonly FlightMessage[] => {
  const view = new DataView(stream.buffer, stream.byteOffset, stream.byteLength);
  const messages: FlightMessage[] = [];
  for (let at = 0; at + 8 <= stream.length;) {
    const length = view.getInt32(at + 4, true);
    if (length === 0) break;
    const header = stream.slice(at + 8, at + 8 + length);
    const { bodyLength } = Message.decode(header);
    at += 8 + length;
    messages.push({ header, body: stream.slice(at, at + bodyLength) });
    at += bodyLength;
  }
  return messages;
};

/** The messages of a stream of batches: schema, then dictionaries and batches in turn. */
export const messagesOf = (
  batches: readonly RecordBatch[],
  compressionType?: CompressionType,
): readonly FlightMessage[] => {
  const writer = new RecordBatchStreamWriter({ autoDestroy: true, compressionType: compressionType ?? null });
  for (const batch of batches) writer.write(batch);
  writer.finish();
  return splitStream(writer.toUint8Array(true));
};
