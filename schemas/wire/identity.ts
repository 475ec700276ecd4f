import { hash } from 'node:crypto'
import { CanonicalBytes } from './canonical-bytes.ts'

/** The identity of a derived event. It contains no time, no offset and no version of the code. */
export interface Derivation {
  readonly processor: string
  /** Reward, dialect, policy, model hash …, in the processor's order. */
  readonly variant: readonly string[]
  readonly type: string
  /** Ids of the events it was derived from, in any order; a tick is never one of them. */
  readonly causes: readonly string[]
  /** Distinguishes events with the same causes, e.g. the deadline of an expiry. */
  readonly discriminator?: string
  /** How many events of this type the same derivation has emitted before. */
  readonly index: number
}

/** `ce_id` of a derived event: the same wherever and whenever it is computed. */
export function derivedId({ processor, variant, type, causes, discriminator = '', index }: Derivation): string {
  const bytes = new CanonicalBytes()
  bytes.utf8('derived')
  bytes.utf8(processor)
  writeTexts(bytes, variant)
  bytes.utf8(type)
  writeTexts(bytes, isAscending(causes) ? causes : [...causes].sort())
  bytes.utf8(discriminator)
  bytes.uint32(index)
  return first128Bits(bytes)
}

/** `ce_id` of an event that a seeded generator emits, from the ordered parts that identify it in that generator. */
export function sourceId(parts: readonly string[]): string {
  const bytes = new CanonicalBytes()
  bytes.utf8('source')
  writeTexts(bytes, parts)
  return first128Bits(bytes)
}

/** SHA-256 of what a model's files are, in any order: their names and the hashes of their contents. */
export function filesHash(
  files: readonly { readonly name: string; readonly blob: { readonly sha256: string } }[],
): string {
  const lines = files.map(({ name, blob }) => `${name} ${blob.sha256}\n`).sort()
  return hash('sha256', lines.join(''))
}

function isAscending(texts: readonly string[]): boolean {
  for (let at = 1; at < texts.length; at++) if ((texts[at - 1] as string) > (texts[at] as string)) return false
  return true
}

function writeTexts(bytes: CanonicalBytes, texts: readonly string[]): void {
  bytes.uint32(texts.length)
  for (const text of texts) bytes.utf8(text)
}

function first128Bits(bytes: CanonicalBytes): string {
  return hash('sha256', bytes.bytes(), 'hex').slice(0, 32)
}
