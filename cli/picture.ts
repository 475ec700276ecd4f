import { writeFile } from 'node:fs/promises'
import sharp from 'sharp'
import { readRange } from '../infra/runtime/json-records.ts'
import { vocabulary } from '../schemas/catalogue.ts'
import { decodeEvent } from '../schemas/codec.ts'
import type { BlobRef } from '../schemas/logical-types.ts'
import { scenePresented } from '../schemas/tower.ts'
import type { DataFolder } from './data-folder.ts'

const COLUMNS = 4
const SIDE = 256
const GAP = 4

/** Writes one picture of the first scenes of a log, two rows of four, each with its tower. */
export async function savePicture(folder: DataFolder, file: string): Promise<void> {
  const scenes: { at: string; image: BlobRef }[] = []
  const partitions = (await folder.log.endOffsets(scenePresented.type)).length
  for (let partition = 0; partition < partitions; partition++) {
    for await (const record of readRange(folder.log, scenePresented.type, partition, 0n)) {
      const event = decodeEvent(record, vocabulary)
      const { dataset, height, index, image, scene_id } = event.data as Record<string, unknown> & { image: BlobRef }
      scenes.push({ at: `${dataset}/${String(index).padStart(9, '0')}/${height}/${scene_id}`, image })
    }
  }
  scenes.sort((a, b) => (a.at < b.at ? -1 : 1))
  const first = scenes.slice(0, COLUMNS)
  const last = scenes.slice(-COLUMNS)
  const shown = [...last, ...first]
  const tiles = await Promise.all(
    shown.map(async ({ image }, place) => ({
      input: Buffer.from(await folder.blobs.get(image)),
      left: GAP + (place % COLUMNS) * (SIDE + GAP),
      top: GAP + Math.floor(place / COLUMNS) * (SIDE + GAP),
    })),
  )
  const width = GAP + COLUMNS * (SIDE + GAP)
  const height = GAP + 2 * (SIDE + GAP)
  const sheet = sharp({ create: { width, height, channels: 3, background: '#ffffff' } }).composite(tiles)
  await writeFile(file, await sheet.png().toBuffer())
}
