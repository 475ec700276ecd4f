import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { memoryBlobs } from '../../infra/blobs/memory.ts'
import { memoryLog } from '../../infra/log/memory/memory-log.ts'
import { topicsOf } from '../../infra/runtime/state/topics.ts'
import { modelPublished, modelRefused } from '../../schemas/events/model.ts'
import { linearOnnx } from '../../testing/tiny-onnx.ts'
import { type AddModel, addModel } from './add-model.ts'
import { readModels } from './read-models.ts'

let dir = ''
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'plumbline-models-'))
})
afterEach(() => rmSync(dir, { recursive: true, force: true }))

async function place() {
  const log = memoryLog()
  await log.createTopics(topicsOf([modelPublished, modelRefused], [], 3))
  const of = { log, blobs: memoryBlobs(), partitions: 3 }
  const add = ({ files = [save('model.onnx', linearOnnx(2, 1))], ...options }: Partial<AddModel> = {}) =>
    addModel(of, { lineage: 'a', manifest: {}, sizes: new Map([['n', 8]]), ...options, files })
  return { add, models: () => readModels(of), blobs: of.blobs }
}

function save(name: string, bytes: Uint8Array | string): string {
  const file = join(dir, name)
  writeFileSync(file, bytes)
  return file
}

function folder(name: string): string {
  mkdirSync(join(dir, name))
  return join(dir, name)
}

test('a model is published with what its file says of it, and is read back with its bytes', async () => {
  const { add, models, blobs } = await place()
  expect(await add({ manifest: { licence: 'Apache-2.0', metrics: { loss: 0.5 } } })).toEqual({
    ...{ model_id: 'a@0', published: 'now' },
  })
  const [model, ...others] = await models()
  expect(others).toEqual([])
  const tensor = { file: 'model.onnx', dtype: 'float32', shape: [8, 2] }
  expect(model).toMatchObject({
    ...{ model_id: 'a@0', role: 'policy', version: 0, licence: 'Apache-2.0', metrics: { loss: 0.5 }, refused: [] },
    ...{ inputs: [{ ...tensor, name: 'x' }], outputs: [{ ...tensor, name: 'y' }] },
  })
  expect(await blobs.get(model?.files[0]?.blob as never)).toEqual(Buffer.from(linearOnnx(2, 1)))
})

test('versions count up within a lineage; the same version is published once', async () => {
  const { add, models } = await place()
  await add()
  expect(await add()).toMatchObject({ model_id: 'a@1' })
  expect(await add({ lineage: 'b' })).toMatchObject({ model_id: 'b@0' })
  expect(await add({ version: 1 })).toEqual({ model_id: 'a@1', published: 'before' })
  await expect(add({ version: 1, manifest: { licence: 'MIT' } })).rejects.toThrow(/version 1 is published with other/)
  expect((await models()).map(({ model_id }) => model_id).sort()).toEqual(['a@0', 'a@1', 'b@0'])
})

test.each<[string, () => Partial<AddModel>, RegExp]>([
  ['no size is given for a dimension', () => ({ sizes: new Map() }), /expected the largest of n$/],
  ['a file is none', () => ({ files: [save('model.onnx', 'PK')] }), /model.onnx: expected an ONNX model/],
  ['a file has another name', () => ({ files: [save('weights.pt', 'PK')] }), /weights.pt: expected one of model.onnx/],
  ['a file is not there', () => ({ files: [join(dir, 'model.onnx')] }), /there is no such file/],
  ['a file is a folder', () => ({ files: [folder('model.onnx')] }), /expected a file, got a folder/],
  ['a field is unknown', () => ({ manifest: { nope: 1 } as never }), /field nope: the declaration has no such field/],
  ['a field is out of its bounds', () => ({ manifest: { end_token: -1 } }), /end_token/],
])('nothing is published when %s', async (_, options, message) => {
  const { add, models } = await place()
  await expect(add(options())).rejects.toThrow(message)
  expect(await models()).toEqual([])
})
