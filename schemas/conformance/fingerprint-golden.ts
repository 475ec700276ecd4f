import { readFile, writeFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import type { EventType } from '../declare/event.ts'
import { fingerprintOf, versionsOf } from '../wire/fingerprint.ts'

/** Fingerprints of every version that a log may hold, by `type/version`. A line is added, and never changed. */
export const GOLDEN = 'schemas/events/fingerprints.golden.txt'
const path = fileURLToPath(new URL('../events/fingerprints.golden.txt', import.meta.url))

export async function recordedFingerprints(): Promise<ReadonlyMap<string, string>> {
  const lines = (await readFile(path, 'utf8')).split('\n').filter((line) => line !== '')
  return new Map(lines.map((line) => line.split(' ') as [string, string]))
}

export function fingerprintsOf(types: readonly EventType[]): ReadonlyMap<string, string> {
  return new Map(
    types.flatMap((type) =>
      versionsOf(type).map((version) => [`${type.type}/${version.version}`, fingerprintOf(type, version)] as const),
    ),
  )
}

/** Appends the versions that the file lacks. @returns their names */
export async function addFingerprints(types: readonly EventType[]): Promise<readonly string[]> {
  const recorded = await recordedFingerprints()
  const added = [...fingerprintsOf(types)].filter(([version]) => !recorded.has(version))
  const lines = [...recorded, ...added].map(([version, fingerprint]) => `${version} ${fingerprint}\n`)
  if (added.length > 0) await writeFile(path, lines.join(''))
  return added.map(([version]) => version)
}
