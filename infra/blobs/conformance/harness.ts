import type { BlobRef } from '../../../schemas/declare/logical-types.ts'
import type { BlobStore } from '../blobs.ts'
import type { Fault } from './faulty-proxy.ts'

/** What a driver provides so that the suite can test it. */
export interface BlobHarness {
  /** A handle as another process would have it; all handles of a harness share one store. */
  open(): BlobStore
  /** A handle through a network with this fault, with two tries and short time limits. */
  through(fault: Fault): Promise<BlobStore>
  /** A handle for the same store while it cannot be reached. */
  away(): Promise<BlobStore>
  /** Replaces the stored bytes, as a failing disk or a person would. */
  damage(ref: BlobRef, bytes: Uint8Array): Promise<void>
  /** Removes the data. */
  close(): Promise<void>
}

export interface ConformanceCase {
  /** The promise that the case tests. */
  readonly name: string
  run(harness: BlobHarness): Promise<void>
}

/** By case name, why a driver need not pass it. */
export type Skips = Readonly<Record<string, string>>
