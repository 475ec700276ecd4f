/** A view for users: its SQL, and the meaning of each column. */
export interface View {
  readonly name: string
  readonly about: string
  /** In the order of the SELECT. */
  readonly columns: Readonly<Record<string, string>>
  /** A SELECT. */
  readonly sql: string
}
