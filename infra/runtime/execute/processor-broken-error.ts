/** The processor's own code fails, not single records of it. Nothing of the last batch was committed. */
export class ProcessorBrokenError extends Error {
  override readonly name = 'ProcessorBrokenError'
  readonly retry = 'never'
}
