/** The first path at which two JSON values differ, with both values; undefined when equal. Key order is ignored. */
export function jsonDifference(expected: unknown, actual: unknown, path = 'state'): string | undefined {
  if (isObject(expected) && isObject(actual) && Array.isArray(expected) === Array.isArray(actual)) {
    for (const key of new Set([...Object.keys(expected), ...Object.keys(actual)])) {
      const difference = jsonDifference(expected[key], actual[key], `${path}.${key}`)
      if (difference !== undefined) return difference
    }
    return undefined
  }
  const [right, found] = [textOf(expected), textOf(actual)]
  return right === found ? undefined : `${path}: expected ${right}, as computed again, got ${found}`
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null
}

const LONGEST = 60

function textOf(value: unknown): string {
  const text = JSON.stringify(value) ?? 'nothing'
  return text.length <= LONGEST ? text : `${text.slice(0, LONGEST)}… (${text.length} characters)`
}
