import type { Processor } from '../../../processors/processor.ts'
import type { Member } from '../../log/port/log.ts'
import type { Task } from './task.ts'

/** The tasks of a worker whose processor lacks something that it needs: their inputs wait in the log. */
export class Lacking {
  readonly #inputs: readonly string[]
  /** By partition: whether a person was told. */
  readonly #told = new Map<number, boolean>()

  constructor({ inputs }: Pick<Processor, 'inputs'>) {
    this.#inputs = inputs.map(({ type }) => type)
  }

  get partitions(): ReadonlySet<number> {
    return new Set(this.#told.keys())
  }

  /** Pauses what the tasks cannot work on, and resumes what they can again. */
  pause(member: Member, tasks: ReadonlyMap<number, Task>): void {
    for (const [partition, { execution }] of tasks) {
      if (execution.lacks() !== undefined) {
        member.pause([partition], this.#inputs)
        if (!this.#told.has(partition)) this.#told.set(partition, false)
      } else if (this.#told.delete(partition)) member.resume([partition])
    }
  }

  /** @returns what tasks lack that a person was not told of, in words */
  tell(tasks: ReadonlyMap<number, Task>): string[] {
    const untold = [...this.#told].flatMap(([partition, is_told]) => (is_told ? [] : [partition]))
    const told: string[] = []
    for (const [lacked, all] of Map.groupBy(untold, (partition) => tasks.get(partition)?.execution.lacks())) {
      if (lacked === undefined) continue
      for (const partition of all) this.#told.set(partition, true)
      const where = `partition${all.length > 1 ? 's' : ''} ${all.join(', ')}`
      told.push(`waits for ${lacked}: what it would read of ${where} stays in the log until then`)
    }
    return told
  }

  drop(partition: number): void {
    this.#told.delete(partition)
  }

  clear(): void {
    this.#told.clear()
  }
}
