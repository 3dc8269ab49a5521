#!/usr/bin/env node
/** The program `pgstrata`. */
import { main } from './main.ts';

// A reader that has seen enough (`pgstrata … | head`) is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  process.exit(0);
});
process.exitCode = await main(process.argv);
