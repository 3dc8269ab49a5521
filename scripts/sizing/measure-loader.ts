/** What the loader's own process takes for a change: Flight, decoding, sorting, COPY frames, deltas. */
import { spawnDevnet } from '../../src/devnet/child.ts';
import { runClient } from '../bench/ingest.ts';
import { LOADS } from '../bench/ingest-loads.ts';

const BLOCKS = 2001;
const TRANSFERS_PER_BLOCK = 200;

/** Processor seconds of the loader per million changes, in batches of 10,000 transfers. */
export const loaderCpu = async (database: string): Promise<number> => {
  const load = LOADS.find(({ name }) => name === 'transfers')!;
  const devnet = await spawnDevnet({
    chain: { ...load.chain, blocks: BLOCKS, transfersPerBlock: TRANSFERS_PER_BLOCK },
    preload: [{ sql: load.query }],
    microbatchBlocks: 50,
  });
  try {
    const policy = load.policy(devnet.url).replace('fold: deferred', 'commit_rows: 20000, fold: live');
    const { rows, cpu_s } = await runClient({ database, stream: load.name, policy });
    return Number(((cpu_s / rows) * 1e6).toPrecision(3));
  } finally {
    await devnet.stop();
  }
};
