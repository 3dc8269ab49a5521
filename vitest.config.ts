/** Test runner settings: one real PostgreSQL for the whole run, one cloned database per file. */
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';
import { LongestFirst } from './test/order.ts';

// Each worker, and each run, compiles what it imports: once is enough.
process.env['NODE_COMPILE_CACHE'] ??= fileURLToPath(new URL('node_modules/.cache/pgstrata', import.meta.url));

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    exclude: ['test/interop/**'],
    globalSetup: ['test/postgres.ts'],
    testTimeout: 60_000,
    hookTimeout: 60_000,
    // One more than the cores of a small machine: some of a test's time is a wait.
    maxWorkers: 3,
    pool: 'forks',
    // A worker takes one file after the other, and loads what they import once: a file has a database of its own, and leaves
    // nothing behind in the process.
    isolate: false,
    sequence: { sequencer: LongestFirst },
    // Node runs our TypeScript as it is, in tests as for users; what a bundler would add is time.
    experimental: { viteModuleRunner: false, nodeLoader: false },
  },
});
