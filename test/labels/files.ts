/** Label files in tests: text on its way as bytes, in pieces of any size. */
import type { Pool } from '../../src/db/query.ts';
import { addLabels } from '../../src/warehouse/labels/add.ts';
import type { AddedLabels, AddLabelsOptions } from '../../src/warehouse/labels/add.ts';

/** The bytes of a text, a few at a time. */
export async function* pieces(content: string | Uint8Array, size = 7): AsyncGenerator<Uint8Array, void> {
  const bytes = Buffer.from(content);
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

/** Loads a label file given as text. */
export const addText = (
  pool: Pool,
  name: string,
  content: string | Uint8Array,
  options: Partial<AddLabelsOptions> = {},
): Promise<AddedLabels> =>
  addLabels(pool, { name, source: pieces(content), fileName: `${name}.csv`, ...options });
