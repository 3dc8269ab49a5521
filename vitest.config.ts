/** Test runner settings: one real PostgreSQL for the whole run, one cloned database per file. */
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    exclude: ['test/interop/**'],
    globalSetup: ['test/postgres.ts'],
    testTimeout: 60_000,
    hookTimeout: 60_000,
    // One more than the cores of a small machine: most of a test's time is PostgreSQL's, or a wait for it.
    maxWorkers: 3,
    pool: 'forks',
  },
});
