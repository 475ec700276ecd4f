import { UsageError } from '../pipeline/usage-error.ts'

const RFC_3339 = /^\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:\d{2}))?$/i

/**
 * Parses a typed time to milliseconds since the epoch: RFC 3339 with its zone, or a date alone, which is midnight UTC.
 * JavaScript's own parser accepts almost anything: `1` is a day in 2001.
 *
 * @throws UsageError naming the option
 */
export function typedTime(text: string, option: string, expected = 'a time'): number {
  const time_ms = RFC_3339.test(text) ? Date.parse(text) : Number.NaN
  if (!Number.isNaN(time_ms)) return time_ms
  throw new UsageError(
    `${option} ${text}: expected ${expected}`,
    `a time is a date, or a date and a time with their zone, e.g. ${option} 2026-01-31T12:00:00Z`,
  )
}
