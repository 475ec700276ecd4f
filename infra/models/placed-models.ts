import { randomUUID } from 'node:crypto'
import { rename, rm, stat, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { CallFailedError, type ModelToPlace, ModelUnsoundError, type PlacedModels } from '../../processors/processor.ts'
import { MODEL_FILES } from '../../schemas/events/model.ts'
import { filesHash } from '../../schemas/wire/identity.ts'
import { BlobCorruptError, BlobMissingError, type Blobs } from '../blobs/blobs.ts'
import { flushPath } from '../flush-path.ts'
import { makeFolder } from '../make-folder.ts'
import { type ModelFile, modelFaults } from './check/check-model.ts'

/** A longer name than this, with a hash after it, is none on most file systems. */
const LONGEST_NAME = 100

/**
 * Places models in a folder that a server shares: each in a folder of its own, which appears by a rename and is never
 * changed. One model at a time, so that the files of one are in memory.
 */
export function placedModels(folder: string, blobs: Pick<Blobs, 'get'>): PlacedModels {
  let turn: Promise<unknown> = Promise.resolve()
  return {
    place(model) {
      const mine = turn.then(() => place(resolve(folder), model, blobs))
      turn = mine.catch(() => {})
      return mine
    },
  }
}

async function place(folder: string, model: ModelToPlace, blobs: Pick<Blobs, 'get'>): Promise<string> {
  const path = join(folder, folderNameOf(model))
  if (await isThere(path)) return path
  const files = await checkedFiles(model, blobs)
  const unfinished = join(folder, `.${randomUUID()}`)
  try {
    makeFolder(unfinished)
    for (const [name, bytes] of files) {
      await writeFile(join(unfinished, name), bytes)
      await flushPath(join(unfinished, name))
    }
    await flushPath(unfinished)
    await rename(unfinished, path)
    await flushPath(folder)
    return path
  } catch (error) {
    await rm(unfinished, { recursive: true, force: true })
    // Another process was faster, with the same files.
    if (await isThere(path)) return path
    throw new CallFailedError(
      `${folder}: expected a folder that can be written and that the server sees too; ${(error as Error).message}`,
      { scope: 'endpoint', permanent: true },
    )
  }
}

async function checkedFiles(model: ModelToPlace, blobs: Pick<Blobs, 'get'>): Promise<Map<ModelFile, Uint8Array>> {
  const files = new Map<ModelFile, Uint8Array>()
  for (const { name, blob } of model.files) {
    const known = MODEL_FILES.find((one) => one === name)
    if (known === undefined) throw new ModelUnsoundError(`files: expected names of docs/models.md, found ${name}`)
    try {
      files.set(known, await blobs.get(blob))
    } catch (error) {
      if (!(error instanceof BlobMissingError || error instanceof BlobCorruptError)) throw error
      throw new CallFailedError(`${name}: ${error.message}`, { scope: 'call', permanent: true })
    }
  }
  const faults = modelFaults(files, { base: model.base, inputs: [], outputs: [] })
  if (!files.has('adapter_model.safetensors')) faults.push('files: expected an adapter, which a server can load')
  if (faults.length > 0) throw new ModelUnsoundError(faults.slice(0, 8).join('; '))
  return files
}

/** The lineage for people, and a hash of the contents, so that one name never has other files. */
function folderNameOf({ lineage, files }: ModelToPlace): string {
  return `${lineage.replaceAll(/[^\w.-]/g, '_').slice(0, LONGEST_NAME)}@${filesHash(files)}`
}

const isThere = (path: string) =>
  stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  )
