import { BrokerError } from '../infra/kafka-broker/broker-error.ts'
import { DatabaseBusyError } from '../sinks/duckdb/database.ts'
import { RecordingError } from '../sources/recorded-completions.ts'
import { UsageError } from './usage-error.ts'

/**
 * Says on standard error what went wrong and what to do, without a stack unless asked for.
 *
 * @returns the exit code: 2 for what was typed, 1 for everything else
 */
export function reportFailure(error: unknown, options: { readonly debug: boolean; readonly json: boolean }): 1 | 2 {
  const usage = error instanceof UsageError || error instanceof RecordingError
  const remedy = remedyOf(error)
  const message = error instanceof Error ? error.message : String(error)
  if (options.json) {
    const name = error instanceof Error ? error.name : 'Error'
    process.stderr.write(`${JSON.stringify({ error: name, message, ...(remedy === undefined ? {} : { remedy }) })}\n`)
  } else {
    process.stderr.write(`plumbline: ${message}\n`)
    if (remedy !== undefined) process.stderr.write(`  ${remedy}\n`)
  }
  if (options.debug && error instanceof Error) process.stderr.write(`${error.stack ?? ''}\n`)
  return usage ? 2 : 1
}

/** What to type instead, where the error itself cannot know it. */
function remedyOf(error: unknown): string | undefined {
  if (error instanceof UsageError || error instanceof BrokerError) return error.remedy
  if (error instanceof RecordingError)
    return 'a line is e.g. {"group_id": "…", "completion_index": 0, "text": "<answer>120</answer>"}; nothing was brought in'
  if (error instanceof DatabaseBusyError)
    return 'wait for that process, or continue or end it when it is stopped; a second run can compute without loading: run --no-sink'
  return undefined
}
