import type { Bench } from '../pairs.ts'

/** Opens a benchmark on a broker, host:port. */
export type OpenKafkaBench = (options: { readonly bootstrap: string; readonly quick: boolean }) => Promise<Bench>
