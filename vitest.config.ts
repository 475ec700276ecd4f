import { defineConfig } from 'vitest/config'

/** Set by the guard: long tests run in CI, and if the command line names test files. */
const long = process.env.PLUMBLINE_LONG_TESTS ? ',long' : ''

export default defineConfig({
  test: {
    include: [`**/*.{unit,int,e2e${long}}.test.ts`],
    exclude: ['node_modules/**', 'data/**', '.venv/**'],
    reporters: ['default', './tests/closing-line.ts'],
    pool: 'forks',
    // By default Vitest leaves a core free, half of a small machine. Tests of programs wait more than they compute.
    maxWorkers: '100%',
    testTimeout: 180_000,
    hookTimeout: 180_000,
    passWithNoTests: false,
  },
})
