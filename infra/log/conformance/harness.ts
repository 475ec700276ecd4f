import type { Log } from '../log.ts'

/** What a driver brings so that the suite can try it. */
export interface LogHarness {
  /** A handle as another process would have it; all handles of a harness see one log. */
  open(): Promise<Log>
  /** The same, but its members give no sign of life between two polls, as a process that hangs. */
  openSilent(): Promise<Log>
  /** Lets this much time pass for leases. */
  elapse(ms: number): Promise<void>
  /** Ends all handles, as a clean stop does, and everything that is kept for them. */
  close(): Promise<void>
  /** The shortest session that is safe with this driver on a busy machine. */
  readonly session_timeout_ms: number
}

export interface ConformanceCase {
  /** The promise. */
  readonly name: string
  run(harness: LogHarness): Promise<void>
}

/** By case name, why a driver cannot be held to it. */
export type Skips = Readonly<Record<string, string>>
