// The tests of the Convex functions, run by convex-test: what the contract suite cannot see.
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['tests/functions/**/*.test.ts'],
    environment: 'node',
    // Thousands of rows in a table that convex-test scans take a while on a busy machine.
    testTimeout: 60_000,
    // convex-test takes its module from here; bundled, it shares `convex` with the functions.
    server: { deps: { inline: ['convex-test'] } },
  },
});
