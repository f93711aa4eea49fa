import { defineConfig } from 'vitest/config';

// Workspace packages resolve to their sources, so tests need no build.
const conditions = ['tsvisor-source', 'node', 'import', 'module', 'default'];

export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions, externalConditions: conditions } },
  test: {
    include: ['{packages,apps,examples}/*/{src,test}/**/*.test.ts', 'bench/{src,test}/**/*.test.ts', 'scripts/**/*.test.ts'],
    environment: 'node',
    pool: 'forks',
    execArgv: ['--conditions=tsvisor-source'],
    maxWorkers: 2,
    // For a host several times slower than ours, and busy: a test that hangs fails all the same.
    testTimeout: 120_000,
    hookTimeout: 60_000,
  },
});
