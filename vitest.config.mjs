// The tests of the Convex functions, run by convex-test: what the contract suite cannot see.
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['tests/functions/**/*.test.ts'],
    environment: 'node',
    // convex-test takes its module from here; bundled, it shares `convex` with the functions.
    server: { deps: { inline: ['convex-test'] } },
  },
});
