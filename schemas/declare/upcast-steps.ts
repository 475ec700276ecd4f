type Row = Record<string, unknown>

/** From one version of a declaration to the next. */
interface Step {
  readonly version: number
  readonly upcast: (row: Row) => Row
}

/**
 * A row of an earlier version, taken through each step in turn.
 *
 * @param what is upcast, for messages
 * @throws Error when a step throws, naming it
 */
export function throughSteps(what: string, steps: readonly Step[], row: Row): Row {
  return steps.reduce((current, { version, upcast }) => {
    try {
      return upcast(current)
    } catch (error) {
      throw new Error(`${what}: upcasting v${version} to v${version + 1} failed: ${String(error)}`)
    }
  }, row)
}

/** Versions are consecutive, up to the current one. @param fail throws */
export function expectConsecutive(
  earlier: readonly { readonly version: number }[],
  current: number,
  fail: (problem: string) => never,
): void {
  earlier.forEach(({ version }, index) => {
    const expected = current - earlier.length + index
    if (version !== expected) fail(`earlier version ${version}: expected ${expected}, versions are consecutive`)
  })
}
