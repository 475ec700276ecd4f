import type { Log } from '../port/log.ts'

/** What a driver provides so that the suite can test it. */
export interface LogHarness {
  /** A handle as another process would have it; all handles of a harness share one log. */
  open(): Promise<Log>
  /** The same, but its members send no heartbeats between two polls, like a hanging process. */
  openSilent(): Promise<Log>
  /** Lets this much time pass for leases. */
  elapse(ms: number): Promise<void>
  /** Deletes a topic, as the log's own tools would; one created later under this name is a different topic. */
  deleteTopic(name: string): Promise<void>
  /** Closes all handles, as a clean stop does, and removes their data. */
  close(): Promise<void>
  /** The folder of a log that other processes can open. */
  readonly dir?: string
  /** The shortest session that is safe with this driver on a busy machine. */
  readonly session_timeout_ms: number
}

export interface ConformanceCase {
  /** The promise that the case tests. */
  readonly name: string
  run(harness: LogHarness): Promise<void>
}

/** By case name, why a driver need not pass it. */
export type Skips = Readonly<Record<string, string>>
