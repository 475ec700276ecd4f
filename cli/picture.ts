import { writeFile } from 'node:fs/promises'
import sharp from 'sharp'
import { readRange } from '../infra/runtime/internal/json-records.ts'
import type { DataFolder } from '../pipeline/data-folder.ts'
import type { Event } from '../schemas/declare/event.ts'
import type { ImageRef } from '../schemas/declare/logical-types.ts'
import { DATASETS, scenePresented } from '../schemas/events/tower.ts'
import { decodeEvent } from '../schemas/wire/codec.ts'
import { vocabulary } from '../streams/vocabulary.ts'

const COLUMNS = 4
const SIDE = 256
const GAP = 4

/** Writes one picture of a log's first scenes: a row of four for each dataset. */
export async function savePicture(folder: DataFolder, file: string): Promise<void> {
  const images = await firstScenes(folder)
  const rows = DATASETS.map((dataset) => images.get(dataset) ?? []).filter((row) => row.length > 0)
  const tiles = rows.flatMap((row, down) =>
    row.map(async (image, across) => ({
      input: Buffer.from(await folder.blobs.get(image)),
      left: GAP + across * (SIDE + GAP),
      top: GAP + down * (SIDE + GAP),
    })),
  )
  const width = GAP + COLUMNS * (SIDE + GAP)
  const height = GAP + rows.length * (SIDE + GAP)
  const sheet = sharp({ create: { width, height, channels: 3, background: '#ffffff' } })
  await writeFile(
    file,
    await sheet
      .composite(await Promise.all(tiles))
      .png()
      .toBuffer(),
  )
}

async function firstScenes({ log }: DataFolder): Promise<Map<string, ImageRef[]>> {
  const byDataset = new Map<string, Map<number, ImageRef>>()
  const partitions = (await log.endOffsets(scenePresented.type)).length
  for (let partition = 0; partition < partitions; partition++) {
    for await (const record of readRange(log, scenePresented.type, partition, 0n)) {
      const { data } = decodeEvent(record, vocabulary) as Event<typeof scenePresented>
      const scenes = byDataset.get(data.dataset) ?? new Map<number, ImageRef>()
      byDataset.set(data.dataset, scenes.set(data.index, data.image))
    }
  }
  const first = (scenes: Map<number, ImageRef>) => [...scenes].sort(([a], [b]) => a - b).slice(0, COLUMNS)
  return new Map([...byDataset].map(([dataset, scenes]) => [dataset, first(scenes).map(([, image]) => image)]))
}
