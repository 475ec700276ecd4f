import type { PushSource } from '../push-source.ts'
import type { Source } from '../source.ts'
import { type SourceDriver, STEPS } from './driver.ts'

/** The suite's events that were handed to a source, and those of them that were confirmed. */
export class Sender {
  readonly confirmed = new Set<string>()
  readonly refused: unknown[] = []
  readonly onConfirmed: (id: string) => void

  constructor(onConfirmed: (id: string) => void = () => {}) {
    this.onConfirmed = onConfirmed
  }

  /** Hands in every unconfirmed event again, as a sender does after a lost answer, and then no more. */
  handIn({ door }: SourceDriver, source: Source): void {
    if (door === undefined) return
    for (let at = 0; at < STEPS; at++) {
      const id = door.idOf(at)
      if (this.confirmed.has(id)) continue
      door.hand(source as PushSource, at).then(
        () => {
          this.confirmed.add(id)
          this.onConfirmed(id)
        },
        (error: unknown) => this.refused.push(error),
      )
    }
    const pushed = source as PushSource
    pushed.end()
  }
}
