/** Labels in memory: every account finds its own fields and no other's. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { createLabelIndex } from '../../src/warehouse/labels/label-index.ts';
import { propertyOptions } from '../seed.ts';

const entry = (key: Uint8Array, fields: Uint8Array): Buffer => {
  const head = (length: number): Buffer => {
    const bytes = Buffer.alloc(4);
    bytes.writeInt32BE(length);
    return bytes;
  };
  return Buffer.concat([head(key.length), key, head(fields.length), fields]);
};

test('is a map by bytes', () => {
  const bytes = fc.uint8Array({ maxLength: 6, max: 3 });
  fc.assert(
    fc.property(
      fc.uniqueArray(fc.tuple(bytes, fc.uint8Array({ maxLength: 9 })), {
        selector: ([key]) => Buffer.from(key).toString('hex'),
        maxLength: 300,
      }),
      fc.array(bytes, { maxLength: 50 }),
      (labels, others) => {
        const expected = new Map(labels.map(([key, fields]) => [Buffer.from(key).toString('hex'), fields]));
        const index = createLabelIndex(Buffer.concat(labels.map(([key, fields]) => entry(key, fields))));
        expect(index.size).toBe(labels.length);
        for (const key of [...labels.map(([own]) => own), ...others]) {
          const around = Buffer.concat([Buffer.from([7]), key, Buffer.from([8])]);
          const place = index.find(around, 1, 1 + key.length);
          const found =
            place < 0 ? undefined : index.bytes.slice(index.fieldsStart(place), index.fieldsEnd(place));
          const wanted = expected.get(Buffer.from(key).toString('hex'));
          expect(found === undefined ? undefined : [...found]).toEqual(
            wanted === undefined ? undefined : [...wanted],
          );
        }
      },
    ),
    propertyOptions(100),
  );
});
