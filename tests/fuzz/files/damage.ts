import type { Random } from '../../../environments/tower/random.ts'

export const DAMAGE_KINDS = ['flips', 'truncation', 'zeroed pages', 'other pages'] as const
export type DamageKind = (typeof DAMAGE_KINDS)[number]

/** What disks and file systems write at once. */
export const PAGE = 4096

export interface Damage {
  readonly bytes: Buffer
  /** For a person. */
  readonly what: string
}

export interface Places {
  /** Numbers of the pages where damage matters most, which get half of it. */
  readonly hot?: readonly number[]
  /** Whether page `from` in place of page `at` is damage that the format can notice. */
  readonly isNoticed?: (from: number, at: number) => boolean
}

/** A damaged copy: one to four flipped bits, pages zeroed or replaced by other pages of the file, or a cut. */
export function damaged(random: Random, kind: DamageKind, bytes: Buffer, places: Places = {}): Damage {
  const { hot = [], isNoticed = () => true } = places
  const below = (n: number) => random.integer(0, n - 1)
  const copy = Buffer.from(bytes)
  const pages = Math.ceil(bytes.byteLength / PAGE)
  const page = () => (hot.length > 0 && below(2) === 0 ? (hot[below(hot.length)] as number) : below(pages))
  if (kind === 'truncation') {
    const length = below(2) === 0 ? below(pages) * PAGE : below(bytes.byteLength)
    return { bytes: copy.subarray(0, length), what: `cut to ${length} bytes` }
  }
  const times = 1 + below(4)
  const done: string[] = []
  for (let i = 0; i < times; i++) {
    const at = page() * PAGE
    const length = Math.min(PAGE, bytes.byteLength - at)
    if (kind === 'flips') {
      const byte = at + (below(2) === 0 ? below(Math.min(160, length)) : below(length))
      const bit = below(8)
      copy[byte] = (copy[byte] as number) ^ (1 << bit)
      done.push(`bit ${bit} of byte ${byte}`)
    } else if (kind === 'zeroed pages') {
      copy.fill(0, at, at + length)
      done.push(`page ${at / PAGE} zeroed`)
    } else {
      let from = page()
      while (!isNoticed(from, at / PAGE)) from = page()
      bytes.copy(copy, at, from * PAGE, Math.min((from + 1) * PAGE, from * PAGE + length))
      done.push(`page ${from} in place of ${at / PAGE}`)
    }
  }
  return { bytes: copy, what: done.join(', ') }
}
