import type { Task } from './task.ts'

/** Work that goes on beside a worker's poll loop. The worker tells it what is committed and takes what it brings. */
export interface Beside {
  /** There is something that will bring a result: the worker is not idle. */
  readonly busy: boolean
  /** Enough is waiting in these tasks, committed or not: no more input is taken for now. */
  full(tasks: ReadonlyMap<number, Task>): boolean
  /** Between two polls: what has come goes into the tasks that still want it. */
  collect(tasks: ReadonlyMap<number, Task>): Promise<void>
  /**
   * Everything that these tasks hold is committed. What they wait for may begin; what no task among them waits for any
   * more is given up. No tasks: the session has ended.
   */
  settle(tasks: ReadonlyMap<number, Task>): void
}
