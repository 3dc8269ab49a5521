#!/usr/bin/env node
/** The program `pgstrata`. */
import { enableCompileCache } from 'node:module';
import { fileURLToPath } from 'node:url';

// Compiled code is kept with the package, not in a temporary folder that others can write to: the next start is almost twice
// as quick. Where the package cannot be written to, nothing is kept.
enableCompileCache(fileURLToPath(new URL('../../node_modules/.cache/pgstrata', import.meta.url)));
const { main } = await import('./main.ts');

// A reader that has seen enough (`pgstrata … | head`) is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  process.exit(0);
});
process.exitCode = await main(process.argv);
