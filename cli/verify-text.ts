import type { Integrity } from '../infra/log/port/log.ts'
import type { VerifyReport } from '../infra/verify/comparison.ts'
import type { Difference } from '../infra/verify/difference.ts'
import type { BlobsReport } from '../infra/verify/named-blobs.ts'
import { damagedPlace } from '../infra/verify/places.ts'
import type { RecordsReport } from '../infra/verify/verify-records.ts'
import { number } from '../pipeline/text/number.ts'
import type { TablesReport } from '../sinks/duckdb/verify-tables.ts'

/** The result of one part of a verification. */
export interface Part {
  readonly text: string
  readonly found: readonly Difference[]
  readonly unverifiable?: readonly string[]
}

export function stageText({ rebuilt, equal, recorded, differences, unverifiable }: VerifyReport): string {
  if (differences > 0)
    return `${number(differences)} DIFFERENCES; ${number(equal)} of ${number(rebuilt)} computed again are equal`
  return unverifiable === undefined
    ? `${number(rebuilt)} events computed again, all equal to the ${number(recorded)} recorded`
    : `${number(equal)} events computed again, all equal; the rest of the ${number(recorded)} recorded cannot be`
}

export function recordsText(report: RecordsReport): string {
  const { records, topics, differences, outside, dead, unread, refused_today, skipped } = report
  const read = `${number(records)} of ${topics} topics`
  const foreign = Object.entries(outside).map(([source, count]) => `${number(count)} of ${source}`)
  return [
    differences === 0
      ? `${read} read, each of a producer that may emit it`
      : `${number(differences)} DIFFERENCES in ${read}`,
    ...(foreign.length === 0 ? [] : [`facts from outside: ${foreign.join(', ')}`]),
    ...(dead === 0 ? [] : [`${number(dead)} unreadable, which are dead letters`]),
    ...(unread === 0 ? [] : [`${number(unread)} unreadable, which no processor has read yet`]),
    ...(skipped.length === 0 ? [] : [`${number(skipped.length)} skipped by an operator`]),
    ...(refused_today === 0
      ? []
      : [`${number(refused_today)} of earlier releases outside the bounds of today, which they were accepted without`]),
  ].join('; ')
}

export function blobsText({ named, read, were_read, differences }: BlobsReport): string {
  if (!were_read) return `${number(named)} named, not read`
  return differences === 0
    ? `${number(read)} of ${number(named)} named read, each with its hash`
    : `${number(differences)} DIFFERENCES; ${number(read)} of ${number(named)} named read with their hash`
}

export function tablesText({ rows, groups, not_loaded, unreadable, differences }: TablesReport): string {
  const equal = `${number(rows)} rows equal to the log, rewards of ${number(groups)} groups equal to their events`
  return [
    differences === 0 ? equal : `${number(differences)} DIFFERENCES; ${equal}`,
    ...(not_loaded === 0 ? [] : [`up to ${number(not_loaded)} records not loaded yet`]),
    ...(unreadable === 0 ? [] : [`${number(unreadable)} unreadable records, counted in the tables`]),
  ].join('; ')
}

export function chunksText({ checksummed, unchecksummed, damaged, lost }: Integrity): string {
  return [
    `${number(checksummed)} records with a checksum that holds, ${number(unchecksummed)} unchecksummed`,
    ...(damaged.length === 0 ? [] : [`${number(damaged.length)} DAMAGED ranges`]),
    ...(lost.length === 0 ? [] : [`${number(lost.length)} ranges were lost before a repair`]),
  ].join('; ')
}

export const damagesOf = ({ damaged }: Integrity): Difference[] =>
  damaged.map((damage) => ({
    ...{ kind: 'damaged', processor: 'chunks', ce_id: '?' },
    ...{ where: damagedPlace(damage), message: damage.problem },
  }))

/** Only a stage's first difference: later ones may follow from it. */
export const findingsOf = ({ first }: VerifyReport): readonly Difference[] => (first === undefined ? [] : [first])

const MOST_SHOWN = 5

export function foundText(found: readonly Difference[]): string[] {
  const shown = found.slice(0, MOST_SHOWN).flatMap(({ kind, where, ce_id, message }, at) => {
    const id = ce_id === '?' ? '' : `, ce_id ${ce_id}`
    return [`  ${at === 0 ? 'first: ' : ''}${kind} at ${where}${id}`, `         ${message}`]
  })
  return found.length > MOST_SHOWN ? [...shown, `  … and ${found.length - MOST_SHOWN} more, see --json`] : shown
}
