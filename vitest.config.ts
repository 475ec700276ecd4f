import { defineConfig } from 'vitest/config'

const SHORT = '*.{unit,int,e2e}.test.ts'
const LONG = '*.long.test.ts'
const NOT_OURS = ['node_modules/**', 'data/**', '.venv/**', '.venv-trl/**']
/** Replaces the clocks and timers of its process, which modules loaded meanwhile keep. */
const SIMULATION = 'tests/simulation/**'

/** Set by the guard: long tests run in CI, and if the command line names test files. */
const with_long = Boolean(process.env.PLUMBLINE_LONG_TESTS)

export default defineConfig({
  test: {
    // A process per file would load all modules again, which is half of what short tests compute.
    projects: [
      {
        extends: true,
        test: { name: 'shared', include: [`**/${SHORT}`], exclude: [...NOT_OURS, SIMULATION], isolate: false },
      },
      {
        extends: true,
        test: {
          name: 'alone',
          include: [`${SIMULATION}/${SHORT}`, ...(with_long ? [`**/${LONG}`] : [])],
          exclude: NOT_OURS,
        },
      },
    ],
    reporters: ['default', './tests/closing-line.ts'],
    pool: 'forks',
    // By default Vitest leaves a core free, half of a small machine. Tests of programs wait more than they compute.
    maxWorkers: '100%',
    // A slow machine is no failure.
    expect: { poll: { timeout: 60_000 } },
    testTimeout: 180_000,
    hookTimeout: 180_000,
    passWithNoTests: false,
  },
})
