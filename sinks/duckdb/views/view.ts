/** One view that people ask: its SQL, and what each of its columns means. */
export interface View {
  readonly name: string
  readonly about: string
  /** In the order of the SELECT. */
  readonly columns: Readonly<Record<string, string>>
  /** A SELECT. */
  readonly sql: string
}
