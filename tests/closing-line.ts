import { appendFileSync } from 'node:fs'
import type { Reporter, TestCase, TestModule } from 'vitest/node'

/**
 * Ends a test run with one plain line of totals, after the names of skipped tests, which give the reason. Failures are
 * also appended to the file that PLUMBLINE_FAILED_TESTS names, for a script that reports several test runs at the end.
 */
export default class ClosingLine implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandledErrors: readonly unknown[]): void {
    const count = { passed: 0, failed: unhandledErrors.length, skipped: 0, pending: 0 }
    for (const module of modules) {
      for (const test of module.children.allTests()) {
        const { state } = test.result()
        count[state]++
        if (state === 'skipped') console.log(`skipped: ${module.relativeModuleId} › ${test.fullName}`)
        if (state === 'failed') note(`${module.relativeModuleId} › ${test.fullName}: ${reasonOf(test)}`)
      }
      if (!module.ok() && [...module.children.allTests()].every((test) => test.result().state !== 'failed')) {
        count.failed++
        note(`${module.relativeModuleId}: ${module.errors()[0]?.message ?? 'it could not be run'}`)
      }
    }
    for (const error of unhandledErrors) note(`outside of any test: ${(error as Partial<Error>).message ?? error}`)
    console.log(`\n${count.passed} passed, ${count.failed} failed, ${count.skipped + count.pending} skipped`)
  }
}

function reasonOf(test: TestCase): string {
  return test.result().errors?.[0]?.message ?? 'no reason is known'
}

function note(failure: string): void {
  const file = process.env.PLUMBLINE_FAILED_TESTS
  if (file) appendFileSync(file, `${failure.slice(0, 2_000)}\n`)
}
