/** A process of its own that uses the embedded PostgreSQL of a directory until it is told to stop, or just ends. */
import { startEmbedded } from '../../src/db/embedded.ts';

const [dir = '', manner = 'stay'] = process.argv.slice(2);
const server = await startEmbedded({ dir, fsync: false });
const staying = manner === 'stay' ? setInterval(() => undefined, 60_000) : undefined;

const leave = async (): Promise<void> => {
  clearInterval(staying); // stop() has to keep the process alive by itself
  await server.stop();
};
process.once('SIGINT', () => void leave());
process.once('SIGTERM', () => void leave());

process.stdout.write(`${JSON.stringify({ port: server.port, startedByUs: server.startedByUs })}\n`);
