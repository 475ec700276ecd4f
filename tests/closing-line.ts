import type { Reporter, TestModule } from 'vitest/node'

/** Ends a test run with one plain line that any reader of logs understands, and names what was skipped and why. */
export default class ClosingLine implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandledErrors: readonly unknown[]): void {
    const count = { passed: 0, failed: unhandledErrors.length, skipped: 0, pending: 0 }
    for (const module of modules) {
      for (const test of module.children.allTests()) {
        const { state } = test.result()
        count[state]++
        if (state === 'skipped') console.log(`skipped: ${module.relativeModuleId} › ${test.fullName}`)
      }
      if (!module.ok() && [...module.children.allTests()].every((test) => test.result().state !== 'failed'))
        count.failed++
    }
    console.log(`\n${count.passed} passed, ${count.failed} failed, ${count.skipped + count.pending} skipped`)
  }
}
