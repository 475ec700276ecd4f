import { createHash } from 'node:crypto'
import { readdir } from 'node:fs/promises'
import { extname } from 'node:path'
import { parse } from 'csv-parse/sync'
import { LERER_PROMPT } from '../environments/tower/prompts.ts'
import type { Blobs } from '../infra/blobs/blobs.ts'
import type { DataOf } from '../schemas/declare/event.ts'
import type { PURPOSES } from '../schemas/events/rollout.ts'
import type { scenePresented } from '../schemas/events/tower.ts'
import { sourceId } from '../schemas/wire/identity.ts'
import { LERER_SOURCE } from './ce-source.ts'
import { readContained } from './contained-file.ts'
import { decodePhotograph, type Photograph } from './photograph.ts'
import { PRESENTED, presentScene, promptOf } from './present-scene.ts'
import { type Emitted, inSteps, type Source, type Steps } from './source.ts'

export interface LererOptions {
  readonly dir: string
  /** The label file, inside `dir`; default: the first one with a usual name. */
  readonly labels?: string
  /** The meaning of label 1; required for labels 0 and 1, which are ambiguous. */
  readonly one_means?: 'stable' | 'unstable'
  readonly purpose: (typeof PURPOSES)[number]
  readonly group_size: number
  readonly round: number
}

/** The folder or its label file is not as expected. The message names the line, the expected and the actual value. */
export class LererError extends Error {
  override readonly name = 'LererError'
  readonly retry = 'never'
}

interface Labelled {
  readonly image: string
  readonly is_stable: boolean
  readonly line: number
}

type Picture = Photograph['picture']

const ENDINGS = ['.png', '.jpg', '.jpeg']
const WORDS: ReadonlyMap<string, boolean> = new Map([
  ...['stable', 'stands', 'yes', 'true'].map((word) => [word, true] as const),
  ...['unstable', 'falls', 'fall', 'no', 'false'].map((word) => [word, false] as const),
])
const LABEL_FILES = ['labels.csv', 'labels.txt', 'labels.tsv']

/**
 * Labelled photographs as scenes for binary stability, each with one request, with paper 1's prompt for them. Identity
 * follows from the pixels and the labels: ingesting the same folder again, or after moving it, adds nothing.
 *
 * @throws LererError before anything is appended: no label file, an invalid line, a missing or unreadable image, an
 * image that is listed twice, or two images with the same pixels.
 */
export async function lererScenes(options: LererOptions, blobs: Blobs): Promise<Source & Steps> {
  const { dir, purpose, group_size, round } = options
  const file = options.labels ?? (await findLabels(dir))
  const labelled = parseLabels(file, await readText(dir, file), options.one_means)
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

  async function sceneAndRequest(index: number): Promise<Emitted[]> {
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
      source: LERER_SOURCE,
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

  return inSteps({
    name,
    steps: labelled.length,
    types: PRESENTED,
    async produce(from, to, signal) {
      const emitted: Emitted[] = []
      for (let index = from; index < to; index++) {
        signal.throwIfAborted()
        emitted.push(...(await sceneAndRequest(index)))
      }
      return emitted
    },
  })
}

async function findLabels(dir: string): Promise<string> {
  const names = await readdir(dir).catch((error: NodeJS.ErrnoException) => {
    const why = { ENOENT: 'there is no such folder', ENOTDIR: 'it is a file' }[error.code as 'ENOENT' | 'ENOTDIR']
    throw new LererError(`${dir}: expected a folder of images with a label file: ${why ?? error.message}`)
  })
  const found = LABEL_FILES.find((name) => names.includes(name))
  if (found !== undefined) return found
  throw new LererError(`${dir}: expected a label file (${LABEL_FILES.join(', ')}) next to the images, found none`)
}

/** Labels of a hundred thousand pictures are a few megabytes. */
const MAX_LABEL_BYTES = 64 * 1024 * 1024
const MAX_PICTURE_BYTES = 256 * 1024 * 1024

async function readText(dir: string, file: string): Promise<string> {
  const bytes = await readContained(dir, file, MAX_LABEL_BYTES).catch((error: Error) => {
    throw new LererError(`${file}: cannot be read: ${error.message}`)
  })
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    throw new LererError(`${file}: expected UTF-8 text; save it as UTF-8`)
  }
}

/** The fields of every non-empty line, with its number. Separated by commas with RFC 4180 quotes, tabs, or spaces. */
function linesOf(file: string, text: string): { readonly line: number; readonly parts: readonly string[] }[] {
  const first = text.split(/\r?\n/).find((line) => line.trim() !== '' && !line.startsWith('#')) ?? ''
  const delimiter = [',', '\t'].find((candidate) => first.includes(candidate))
  if (delimiter === undefined) {
    return [...text.split(/\r?\n/).entries()]
      .map(([at, line]) => ({ line: at + 1, parts: line.trim().split(/\s+/) }))
      .filter(({ parts: [part = ''] }) => part !== '' && !part.startsWith('#'))
  }
  try {
    const rows = parse(text, {
      ...{ delimiter, comment: '#', comment_no_infix: true, trim: true, skip_empty_lines: true },
      ...{ relax_column_count: true, info: true },
    }) as unknown as { readonly info: { readonly lines: number }; readonly record: readonly string[] }[]
    return rows.map(({ info, record }) => ({ line: info.lines, parts: record }))
  } catch (error) {
    const { message, lines } = error as Error & { readonly lines?: number }
    throw new LererError(`${file}${lines === undefined ? '' : `:${lines}`}: ${message}`)
  }
}

/** Lines `image,label`, or with a tab or spaces between; a header line, empty lines and # comments are skipped. */
function parseLabels(file: string, text: string, one_means: LererOptions['one_means']): Labelled[] {
  const byImage = new Map<string, Labelled>()
  for (const { line, parts } of linesOf(file, text)) {
    const [image = '', label = ''] = parts
    if (byImage.size === 0 && /^(image|file|filename|name|path)$/i.test(image)) continue
    if (parts.length !== 2 || image === '' || label === '') {
      throw new LererError(`${file}:${line}: expected image,label, got ${JSON.stringify(parts.join(' ').slice(0, 80))}`)
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
      `${where}: label ${label}: does not show whether 1 means stable; add --one-means stable or --one-means unstable`,
    )
  }
  return (label === '1') === (one_means === 'stable')
}

async function readPicture(dir: string, file: string, { image, line }: Labelled) {
  const where = `${file}:${line}: image ${image}`
  if (!ENDINGS.includes(extname(image).toLowerCase())) throw new LererError(`${where}: expected ${ENDINGS.join(', ')}`)
  try {
    const bytes = await readContained(dir, image, MAX_PICTURE_BYTES)
    return { bytes, ...(await decodePhotograph(bytes)) }
  } catch (error) {
    throw new LererError(`${where}: ${(error as Error).message}`)
  }
}
