/** The local broker cannot be provided as requested: what is missing or wrong, and what to do about it. */
export class BrokerError extends Error {
  override readonly name = 'BrokerError'
  readonly retry = 'never'
  readonly remedy: string

  constructor(problem: string, remedy: string, options?: ErrorOptions) {
    super(problem, options)
    this.remedy = remedy
  }
}
