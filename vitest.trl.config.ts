import { defineConfig } from 'vitest/config'

/** Tests with torch and TRL, which `npm run test:trl` installs into .venv-trl from python/requirements-trl.txt. */
export default defineConfig({
  test: {
    include: ['**/*.trl.test.ts'],
    exclude: ['node_modules/**', 'data/**', '.venv/**', '.venv-trl/**'],
    reporters: ['default', './tests/closing-line.ts'],
    pool: 'forks',
    // Importing torch takes longer than most of what is tested.
    maxWorkers: 2,
    testTimeout: 600_000,
    hookTimeout: 180_000,
    passWithNoTests: false,
  },
})
