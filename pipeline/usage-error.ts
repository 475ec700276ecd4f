/** The command cannot be run as typed: exit code 2, a message of one line, and what to type instead. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
  readonly retry = 'never'
  readonly remedy: string

  constructor(problem: string, remedy: string, options?: ErrorOptions) {
    super(problem, options)
    this.remedy = remedy
  }
}
