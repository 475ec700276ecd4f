/** The local broker cannot be had as asked: what is missing or wrong, and what to do about it. */
export class BrokerError extends Error {
  override readonly name = 'BrokerError'
  readonly remedy: string

  constructor(problem: string, remedy: string, options?: ErrorOptions) {
    super(problem, options)
    this.remedy = remedy
  }
}
