/** CSV files that commands are given. */
import { open, type FileHandle } from 'node:fs/promises';
import { messageOf, WarehouseError } from '../runtime/errors.ts';

/** Opens a CSV file. @throws WarehouseError `usage` when it cannot be read */
export const openCsv = (file: string): Promise<FileHandle> =>
  open(file).catch((thrown: unknown) => {
    throw new WarehouseError('usage', `cannot read ${file}: ${messageOf(thrown)}`, {
      file,
      remedy: 'Give the path of a CSV file.',
    });
  });
