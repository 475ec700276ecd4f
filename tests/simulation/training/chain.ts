import type { DataOf, RowOfEvent } from '../../../schemas/declare/event.ts'
import type { checkpointSaved, runStarted } from '../../../schemas/events/training.ts'

/** How often each group is inside weights. */
export type Weights = ReadonlyMap<string, number>

/** A checkpoint's file, as the trainer has written it before it told the feed. */
export interface SavedFile {
  readonly step: number
  readonly weights: Weights
}

interface Saved {
  readonly checkpoint: string
  readonly parent: string | null
  readonly step: number
  readonly epoch: number
  readonly expected: number
  readonly groups: string[]
}

/** The checkpoints of the run: each is in the weights of those after it. */
export class Chain {
  /** By checkpoint. Files outlive the processes. */
  readonly files = new Map<string, SavedFile>()
  readonly #saved = new Map<string, Saved>()
  readonly #undone = new Set<string>()
  readonly #breaks: (what: string) => void
  #last: string | null = null
  #open: Saved | undefined

  constructor(breaks: (what: string) => void) {
    this.#breaks = breaks
  }

  get last(): string | null {
    return this.#last
  }

  has(checkpoint: string): boolean {
    return this.#saved.has(checkpoint)
  }

  isUndone(checkpoint: string): boolean {
    return this.#undone.has(checkpoint)
  }

  /** A run starts from nothing or resumes: what was saved after that is undone. */
  start({ checkpoint, step }: DataOf<typeof runStarted>): void {
    const from = checkpoint === null ? undefined : this.#saved.get(checkpoint)
    if (checkpoint !== null && (from === undefined || this.#undone.has(checkpoint))) {
      this.#breaks(`run_started: ${checkpoint} is no checkpoint that can be resumed`)
    }
    if (step !== (from?.step ?? 0)) this.#breaks(`run_started: expected step ${from?.step ?? 0}, got ${step}`)
    const kept = new Set(this.#ancestors(checkpoint).map((one) => one.checkpoint))
    for (const one of this.#saved.keys()) if (!kept.has(one)) this.#undone.add(one)
    this.#last = checkpoint
  }

  /** A row of a checkpoint. @returns whether it is complete with it */
  add(row: RowOfEvent<typeof checkpointSaved>, group_id: string): boolean {
    const { checkpoint, parent, step, epoch, groups: expected } = row
    if (this.#open === undefined) {
      if (this.#saved.has(checkpoint)) this.#breaks(`checkpoint ${checkpoint} is saved a second time`)
      if (parent !== this.#last) this.#breaks(`checkpoint ${checkpoint}: expected parent ${this.#last}, got ${parent}`)
      this.#open = { checkpoint, parent, step, epoch, expected, groups: [] }
    }
    this.#open.groups.push(group_id)
    if (this.#open.groups.length < expected) return false
    this.#saved.set(checkpoint, this.#open)
    this.#open = undefined
    this.#last = checkpoint
    this.#expectWeights(checkpoint)
    return true
  }

  expectWhole(): void {
    if (this.#open !== undefined) this.#breaks(`checkpoint ${this.#open.checkpoint} lacks groups`)
  }

  /** What the log says is inside the weights of a checkpoint. */
  groupsIn(checkpoint: string | null): string[] {
    return this.#ancestors(checkpoint).flatMap(({ groups }) => groups)
  }

  #expectWeights(checkpoint: string): void {
    const file = this.files.get(checkpoint)
    if (file === undefined) {
      this.#breaks(`checkpoint ${checkpoint} is recorded, and has no file`)
      return
    }
    const expected = this.groupsIn(checkpoint).sort()
    if (new Set(expected).size !== expected.length) this.#breaks(`checkpoint ${checkpoint}: a group twice: ${expected}`)
    const got = [...file.weights].flatMap(([group, times]) => Array.from({ length: times }, () => group)).sort()
    if (got.join() === expected.join()) return
    this.#breaks(`checkpoint ${checkpoint}: by the log [${expected}] are inside its weights, they have [${got}]`)
  }

  #ancestors(checkpoint: string | null): Saved[] {
    const found: Saved[] = []
    for (let at = checkpoint; at !== null; ) {
      const one = this.#saved.get(at)
      if (one === undefined) break
      found.push(one)
      at = one.parent
    }
    return found
  }
}
