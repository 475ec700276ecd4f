import { renameSync } from 'node:fs'
import { setTimeout as wait } from 'node:timers/promises'
import { random } from '../../environments/tower/random.ts'
import { blobFolder } from '../../pipeline/blob-stores.ts'
import type { Crew } from './crew.ts'
import { times } from './kills.ts'
import { Breach, commitsGoOn, PATIENCE_MS, PATIENCE_S, textOf } from './strikes.ts'

/** The blob folder disappears, as if it were not mounted, and comes back. */
export interface BlobsAway {
  readonly kind: 'blobs away'
  readonly for_ms: number
}

/** The error of a process that needs a blob meanwhile. */
export const BLOBS_AWAY = /the blob folder .* is absent or empty/

const MET_MS = 1_500
/** Most attempts until a reader needs a blob that was put just before. */
const MOST_TRIES = 8

export const tellBlobsAway = ({ for_ms }: BlobsAway) => `the blob folder is away for ${(for_ms / 1_000).toFixed(1)} s`

/** Moves the folder right after the paced producer has put blobs that readers will need. @returns what happened */
export async function takeBlobsAway(crew: Crew, data: string, fault: BlobsAway): Promise<string> {
  const { root } = blobFolder(data)
  crew.troubled(true)
  let met: string | undefined
  try {
    for (let attempt = 0; attempt < MOST_TRIES && met === undefined; attempt++) {
      const put = await crew.heard.first(
        crew.heard.now,
        PATIENCE_MS,
        ({ message: { says } }) => says === 'acknowledged',
      )
      if (put === undefined) throw new Breach(`${tellBlobsAway(fault)}: the producer put nothing within ${PATIENCE_S}`)
      const from = crew.heard.now
      renameSync(root, `${root}.away`)
      try {
        const said = await crew.heard.first(from, MET_MS, (one) => BLOBS_AWAY.test(textOf(one)))
        if (said !== undefined) {
          met = said.place
          await wait(fault.for_ms)
        }
      } finally {
        renameSync(`${root}.away`, root)
      }
    }
  } finally {
    crew.troubled(false)
  }
  await commitsGoOn(crew, `${tellBlobsAway(fault)}: back`)
  return `${tellBlobsAway(fault)}: ${met === undefined ? 'no reader needed it' : `${met} said so`}`
}

/**
 * Inserts such faults into a schedule. A separate random stream places them, so a seed's other faults do not change.
 */
export function withBlobsAway<S extends object>(seed: string, steps: readonly S[], count: number) {
  const draw = random('blobs away', seed)
  const all: (S | BlobsAwayStep)[] = [...steps]
  for (const fault of times(count, (): BlobsAway => ({ kind: 'blobs away', for_ms: draw.integer(500, 2_500) }))) {
    all.splice(draw.integer(0, all.length), 0, { fault, pause_ms: draw.integer(100, 1_000), empty_ms: 0 })
  }
  return all
}

export interface BlobsAwayStep {
  readonly fault: BlobsAway
  readonly pause_ms: number
  readonly empty_ms: number
}
