import type { Task } from './task.ts'

/** Work that runs concurrently with a worker's poll loop. The worker reports commits to it and collects its results. */
export interface Beside {
  /** A result is still to be expected: the worker is not idle. */
  readonly busy: boolean
  /** The topics that bring it work. They are paused while it is full; all others are read on. */
  readonly topics: readonly string[]
  /** Back-pressure: enough work is waiting in these tasks, committed or not, so the worker pauses input. */
  full(tasks: ReadonlyMap<number, Task>): boolean
  /** Called between two polls: hands results that have arrived to the tasks that still need them. */
  collect(tasks: ReadonlyMap<number, Task>): Promise<void>
  /**
   * Called when everything in these tasks is committed. Work that they wait for may start; work that none of them waits
   * for is cancelled. No tasks: the session has ended.
   */
  settle(tasks: ReadonlyMap<number, Task>): void
}
