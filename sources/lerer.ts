import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { extname, join } from 'node:path'
import sharp from 'sharp'
import { LERER_PROMPT } from '../environments/tower/prompts.ts'
import type { Blobs } from '../infra/blobs/blobs.ts'
import type { DataOf } from '../schemas/event.ts'
import { sourceId } from '../schemas/identity.ts'
import type { ImageRef } from '../schemas/logical-types.ts'
import type { PURPOSES } from '../schemas/rollout.ts'
import type { scenePresented } from '../schemas/tower.ts'
import { presentScene, promptOf } from './present-scene.ts'
import type { Said, Source } from './source.ts'

export interface LererOptions {
  readonly dir: string
  /** The label file, inside `dir`; found by its name when left out. */
  readonly labels?: string
  /** What the label 1 says. A label of 0 or 1 alone does not say whether it stands or falls. */
  readonly one_means?: 'stable' | 'unstable'
  readonly purpose: (typeof PURPOSES)[number]
  readonly group_size: number
  readonly round: number
}

/** The folder or its label file is not as expected: which line, what was expected, what stands there. */
export class LererError extends Error {
  override readonly name = 'LererError'
}

interface Labelled {
  readonly image: string
  readonly is_stable: boolean
  readonly line: number
}

type Picture = Pick<ImageRef, 'width' | 'height' | 'pixels_sha256'>

const MEDIA_TYPES: Readonly<Record<string, string>> = {
  '.png': 'image/png',
  '.jpg': 'image/jpeg',
  '.jpeg': 'image/jpeg',
}
const WORDS: ReadonlyMap<string, boolean> = new Map([
  ...['stable', 'stands', 'yes', 'true'].map((word) => [word, true] as const),
  ...['unstable', 'falls', 'fall', 'no', 'false'].map((word) => [word, false] as const),
])
const LABEL_FILES = ['labels.csv', 'labels.txt', 'labels.tsv']

/**
 * Photographs with labels as scenes for binary stability, each with one request, under paper 1's prompt for them.
 * Identity follows from the pixels and the label: the same folder brought in twice, or moved elsewhere, adds nothing.
 *
 * @throws LererError before anything is brought in: no label file, a line that is none, an image that is not there or
 * cannot be read, an image or a picture that stands there twice.
 */
export async function lererScenes(options: LererOptions, blobs: Blobs): Promise<Source> {
  const { dir, purpose, group_size, round } = options
  const file = options.labels ?? (await findLabels(dir))
  const labelled = parseLabels(file, await readText(join(dir, file), file), options.one_means)
  const pictures: Picture[] = []
  const seen = new Map<string, Labelled>()
  for (const entry of labelled) {
    const { picture } = await readPicture(dir, file, entry)
    const twin = seen.get(picture.pixels_sha256)
    if (twin !== undefined) {
      throw new LererError(
        `${file}:${entry.line}: expected every picture once, got the pixels of ${twin.image} (line ${twin.line}) again in ${entry.image}`,
      )
    }
    seen.set(picture.pixels_sha256, entry)
    pictures.push(picture)
  }
  const content = createHash('sha256')
    .update(JSON.stringify(labelled.map(({ is_stable }, at) => [pictures[at]?.pixels_sha256, is_stable])))
    .digest('hex')
  const name = ['lerer', content, purpose, `n${group_size}`, `r${round}`].join('/')
  const prompt = promptOf(LERER_PROMPT, 'plain')

  async function sceneAndRequest(index: number): Promise<Said[]> {
    const entry = labelled[index] as Labelled
    const { is_stable } = entry
    const { bytes, media_type, picture } = await readPicture(dir, file, entry)
    const { pixels_sha256 } = picture
    if (pixels_sha256 !== pictures[index]?.pixels_sha256) {
      throw new LererError(`${file}:${entry.line}: image ${entry.image} was changed while it was brought in`)
    }
    const scene_id = sourceId(['lerer/scene', pixels_sha256, String(is_stable)])
    const group_id = sourceId(['lerer/group', name, scene_id])
    const scene: DataOf<typeof scenePresented> = {
      scene_id,
      dataset: 'lerer',
      split: 'test_external',
      seed: null,
      index,
      height: null,
      blocks: [],
      moved_block: null,
      image: { ...(await blobs.put(bytes, media_type)), ...picture },
      offset_world: null,
      offset_units: null,
      com_margin_world: null,
      is_stable,
      optimal_move: null,
      unit: null,
      simulator_version: null,
      content_key: `lerer/${pixels_sha256}`,
    }
    return presentScene({
      source: '/sources/lerer',
      index,
      presented_id: sourceId(['lerer/scene_presented', content, scene_id]),
      scene,
      requested_id: sourceId(['lerer/requested', group_id]),
      request: {
        group_id,
        task: 'binary_stability',
        prompt,
        group_size,
        seed: sourceId(['lerer/completions', group_id]),
        round,
        purpose,
      },
    })
  }

  return {
    name,
    steps: labelled.length,
    async produce(from, to) {
      const said: Said[] = []
      for (let index = from; index < to; index++) said.push(...(await sceneAndRequest(index)))
      return said
    },
  }
}

async function findLabels(dir: string): Promise<string> {
  const names = await readdir(dir).catch((error: NodeJS.ErrnoException) => {
    const why = { ENOENT: 'there is no such folder', ENOTDIR: 'it is a file' }[error.code as 'ENOENT' | 'ENOTDIR']
    throw new LererError(`${dir}: expected a folder of images with a label file: ${why ?? error.message}`)
  })
  const found = LABEL_FILES.find((name) => names.includes(name))
  if (found !== undefined) return found
  throw new LererError(`${dir}: expected a label file (${LABEL_FILES.join(', ')}) beside the images, found none`)
}

async function readText(path: string, file: string): Promise<string> {
  return readFile(path, 'utf8').catch((error: Error) => {
    throw new LererError(`${file}: cannot be read: ${error.message}`)
  })
}

/** Lines `image,label`, or separated by a tab or spaces; a head line `image…label`, empty lines and # comments are passed over. */
function parseLabels(file: string, text: string, one_means: LererOptions['one_means']): Labelled[] {
  const byImage = new Map<string, Labelled>()
  for (const [at, source] of text
    .replace(/^\uFEFF/, '')
    .split(/\r?\n/)
    .entries()) {
    const line = at + 1
    const content = source.trim()
    if (content === '' || content.startsWith('#')) continue
    const parts = content
      .split(content.includes(',') ? ',' : /\s+/)
      .map((part) => part.trim().replace(/^"(.*)"$/, '$1'))
    const [image = '', label = ''] = parts
    if (byImage.size === 0 && /^(image|file|filename|name|path)$/i.test(image)) continue
    if (parts.length !== 2 || image === '' || label === '') {
      throw new LererError(`${file}:${line}: expected image,label, got ${JSON.stringify(content.slice(0, 80))}`)
    }
    const before = byImage.get(image)
    if (before !== undefined)
      throw new LererError(`${file}:${line}: ${image} has a label already, on line ${before.line}`)
    byImage.set(image, { image, line, is_stable: labelOf(`${file}:${line}`, label, one_means) })
  }
  if (byImage.size === 0) throw new LererError(`${file}: expected lines image,label, got none`)
  return [...byImage.values()]
}

function labelOf(where: string, label: string, one_means: LererOptions['one_means']): boolean {
  const word = WORDS.get(label.toLowerCase())
  if (word !== undefined) return word
  if (label !== '0' && label !== '1') {
    throw new LererError(
      `${where}: label: expected stable or unstable (or 0, 1, yes, no), got ${JSON.stringify(label)}`,
    )
  }
  if (one_means === undefined) {
    throw new LererError(
      `${where}: label ${label}: does not say whether 1 stands or falls; add --one-means stable or --one-means unstable`,
    )
  }
  return (label === '1') === (one_means === 'stable')
}

async function readPicture(dir: string, file: string, { image, line }: Labelled) {
  const where = `${file}:${line}: image ${image}`
  const media_type = MEDIA_TYPES[extname(image).toLowerCase()]
  if (media_type === undefined) throw new LererError(`${where}: expected ${Object.keys(MEDIA_TYPES).join(', ')}`)
  const bytes = await readFile(join(dir, image)).catch((error: NodeJS.ErrnoException) => {
    throw new LererError(`${where}: ${error.code === 'ENOENT' ? `there is no such file in ${dir}` : error.message}`)
  })
  const decoded = await sharp(bytes)
    .toColourspace('srgb')
    .removeAlpha()
    .raw()
    .toBuffer({ resolveWithObject: true })
    .catch((error: Error) => {
      throw new LererError(`${where}: expected a picture, but it cannot be decoded: ${error.message}`)
    })
  const { width, height } = decoded.info
  const pixels_sha256 = createHash('sha256').update(decoded.data).digest('hex')
  return { bytes, media_type, picture: { width, height, pixels_sha256 } }
}
