/**
 * Reports each problem once, however many stages have it and however often they retry: a second stage that waits for
 * the same log, or a tenth attempt, adds nothing. Messages that differ only in their numbers (seconds waited, attempts)
 * are one problem.
 */
export class ToldOnce {
  readonly #say: (message: string) => void
  /** The stages that have a problem, by problem. */
  readonly #lasting = new Map<string, Set<string>>()

  constructor(say: (message: string) => void) {
    this.#say = say
  }

  /** @param told the message when this problem is new (default: its cause) */
  tell(who: string, cause: string, told = cause): void {
    const trouble = cause.replaceAll(/\d+(\.\d+)?/g, '#')
    const having = this.#lasting.get(trouble)
    if (having?.has(who)) return
    this.over(who, false)
    if (having === undefined) this.#say(told)
    this.#lasting.set(trouble, (this.#lasting.get(trouble) ?? new Set()).add(who))
  }

  /** The stage works again. Reported when no other stage has that problem. */
  over(who: string, tell = true): void {
    for (const [trouble, having] of this.#lasting) {
      if (!having.delete(who) || having.size > 0) continue
      this.#lasting.delete(trouble)
      if (tell) this.#say(`${who} goes on`)
    }
  }
}
