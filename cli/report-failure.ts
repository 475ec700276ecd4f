import { UsageError } from './usage-error.ts'

/**
 * Says on standard error what went wrong and what to do, without a stack unless asked for.
 *
 * @returns the exit code: 2 for what was typed, 1 for everything else
 */
export function reportFailure(error: unknown, options: { readonly debug: boolean; readonly json: boolean }): 1 | 2 {
  const usage = error instanceof UsageError
  const message = error instanceof Error ? error.message : String(error)
  if (options.json) {
    const name = error instanceof Error ? error.name : 'Error'
    process.stderr.write(`${JSON.stringify({ error: name, message, ...(usage ? { remedy: error.remedy } : {}) })}\n`)
  } else {
    process.stderr.write(`plumbline: ${message}\n`)
    if (usage) process.stderr.write(`  ${error.remedy}\n`)
  }
  if (options.debug && error instanceof Error) process.stderr.write(`${error.stack ?? ''}\n`)
  return usage ? 2 : 1
}
