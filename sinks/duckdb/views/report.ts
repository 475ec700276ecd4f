/**
 * What a domain reports from its views. `plumbline report NAME` prints the answer of each question as a table, unless
 * the program has a layout for it.
 */
export interface Report {
  readonly name: string
  readonly about: string
  /** SQL; where a question has an argument, with an example of it. */
  readonly questions: readonly string[]
}
