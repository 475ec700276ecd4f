import { hash } from 'node:crypto'
import { CanonicalBytes } from './canonical-bytes.ts'

/** What makes a derived event this one and no other. No time, no offset and no version of the code is part of it. */
export interface Derivation {
  readonly processor: string
  /** Reward, dialect, policy, model hash …: in the processor's order. */
  readonly variant: readonly string[]
  readonly type: string
  /** Ids of the events it follows from, in any order; a tick is never one of them. */
  readonly causes: readonly string[]
  /** What causes alone do not tell apart, e.g. the deadline of an expiry. */
  readonly discriminator?: string
  /** How many events of this type the same derivation has said before. */
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

/** `ce_id` of an event that a seeded generator says: from what identifies it there, in this order. */
export function sourceId(parts: readonly string[]): string {
  const bytes = new CanonicalBytes()
  bytes.utf8('source')
  writeTexts(bytes, parts)
  return first128Bits(bytes)
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
