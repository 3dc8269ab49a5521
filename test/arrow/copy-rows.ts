/** Reads CopyData frames back into rows of raw fields: a decoder that shares nothing with the encoder. */

/** The raw bytes of a field as hex; null for a null. */
export type RawField = string | null;

/** Joins the payloads of frames, checking that each is exactly one CopyData message. */
export const payloadOf = (frames: Iterable<Buffer>): Buffer => {
  const payloads: Buffer[] = [];
  for (const frame of frames) {
    if (frame.toString('latin1', 0, 1) !== 'd') throw new Error('not a CopyData message');
    if (frame.readInt32BE(1) !== frame.length - 1) throw new Error('a frame of the wrong length');
    payloads.push(frame.subarray(5));
  }
  return Buffer.concat(payloads);
};

/** Splits the payload of data frames (no header, no trailer) into rows. */
export const rowsOf = (frames: Iterable<Buffer>): readonly (readonly RawField[])[] => {
  const bytes = payloadOf(frames);
  const rows: RawField[][] = [];
  for (let at = 0; at < bytes.length;) {
    const row: RawField[] = [];
    const fields = bytes.readInt16BE(at);
    at += 2;
    for (let field = 0; field < fields; field++) {
      const length = bytes.readInt32BE(at);
      at += 4;
      row.push(length < 0 ? null : bytes.toString('hex', at, at + length));
      at += Math.max(length, 0);
    }
    rows.push(row);
  }
  return rows;
};
