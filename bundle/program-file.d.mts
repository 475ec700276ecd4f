export interface ProgramFileOptions {
  /** The Node that makes the bundle. */
  readonly node?: string
  /** The checkout. */
  readonly root?: string
  /** Told why it cannot be bundled, unless the checkout may not be written. */
  readonly say?: (message: string) => void
}

/** The file to start for this command line: of a bundle of the sources as they are, else the source itself. */
export function programFile(args: readonly string[], options?: ProgramFileOptions): string

/** The folders of the program. */
export const SOURCES: readonly string[]
