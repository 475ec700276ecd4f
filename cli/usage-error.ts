/** What the person typed cannot be done as typed: exit code 2, one line, and what to type instead. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
  readonly remedy: string

  constructor(problem: string, remedy: string, options?: ErrorOptions) {
    super(problem, options)
    this.remedy = remedy
  }
}
