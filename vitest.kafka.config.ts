import { defineConfig } from 'vitest/config'

/** Tests against real brokers, which they start themselves (Java 17; Maven once): `npm run test:kafka`. */
export default defineConfig({
  test: {
    include: ['**/*.kafka.test.ts'],
    exclude: ['node_modules/**', 'data/**', '.venv/**', '.venv-trl/**'],
    reporters: ['default', './tests/closing-line.ts'],
    globalSetup: './testing/shared-broker.ts',
    pool: 'forks',
    maxConcurrency: 8,
    testTimeout: 180_000,
    hookTimeout: 180_000,
    passWithNoTests: false,
  },
})
