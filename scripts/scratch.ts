/** A throw-away PostgreSQL for scripts: started in a temporary folder, gone afterwards. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { startEmbedded } from '../src/db/embedded.ts';

/** Runs `work` with the superuser's URL of a fresh server. */
export const withScratchServer = async (work: (url: string) => Promise<void>): Promise<void> => {
  const dir = await mkdtemp(join(tmpdir(), 'pgstrata-scratch-'));
  const server = await startEmbedded({ dir, fsync: false });
  try {
    await work(server.url);
  } finally {
    await server.stop();
    // For root the data lies elsewhere: a folder that only root may enter is no place for the server's own user.
    await rm(dirname(server.dataDir), { recursive: true, force: true });
    await rm(dir, { recursive: true, force: true });
  }
};
