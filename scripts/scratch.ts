/** A throw-away PostgreSQL for scripts: started in a temporary folder, gone afterwards. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { startEmbedded } from '../src/db/embedded.ts';

/**
 * Runs `work` with the superuser's URL of a fresh server.
 *
 * @param options fsync: whether it runs as a server does whose data counts; by default it does not wait for the disk
 */
export const withScratchServer = async (
  work: (url: string) => Promise<void>,
  { fsync = false }: { readonly fsync?: boolean } = {},
): Promise<void> => {
  const dir = await mkdtemp(join(tmpdir(), 'pgstrata-scratch-'));
  const server = await startEmbedded({ dir, fsync });
  try {
    await work(server.url);
  } finally {
    await server.stop();
    // For root the data lies elsewhere: a folder that only root may enter is no place for the server's own user.
    await rm(dirname(server.dataDir), { recursive: true, force: true });
    await rm(dir, { recursive: true, force: true });
  }
};
