/** Settings for the tests against Flight servers of other makers; they download what they need once. */
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/interop/**/*.test.ts'],
    globalSetup: ['test/postgres.ts'],
    testTimeout: 60_000,
    // The first run creates a Python environment and builds a Go server.
    hookTimeout: 600_000,
    maxWorkers: 2,
    pool: 'forks',
  },
});
