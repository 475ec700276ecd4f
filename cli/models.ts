import type { Command } from 'commander'
import { openDataFolder } from '../pipeline/data-folder.ts'
import { addModel } from '../pipeline/models/add-model.ts'
import { type KnownModel, readModels } from '../pipeline/models/read-models.ts'
import { number } from '../pipeline/text/number.ts'
import { textColumns, textTable } from '../pipeline/text/text-table.ts'
import { UsageError } from '../pipeline/usage-error.ts'
import { prepareLog, wiringOn } from '../pipeline/wiring.ts'
import { MODEL_ROLES } from '../schemas/events/model.ts'
import { readTextFile } from '../sources/plain-file.ts'
import { globals, oneOfWords, wholeNumber } from './options.ts'
import { writeOut } from './write-out.ts'

interface AddOptions {
  readonly lineage: string
  readonly modelVersion?: number
  readonly role?: (typeof MODEL_ROLES)[number]
  readonly base?: string
  readonly licence?: string
  readonly parent?: string
  readonly manifest?: string
  readonly size: ReadonlyMap<string, number>
}

export function addModels(command: Command): void {
  command
    .command('list')
    .description('the models that are published, oldest first')
    .action(async (_: unknown, command: Command) => {
      const models = await modelsOf(command)
      await writeOut(globals(command).json ? `${JSON.stringify(models)}\n` : listText(models))
    })
  command
    .command('show <model>')
    .description('one model: its files, inputs, outputs, licence and parents, and who cannot use it')
    .action(async (model_id: string, _: unknown, command: Command) => {
      const models = await modelsOf(command)
      const model = models.findLast((one) => one.model_id === model_id)
      if (model === undefined) {
        const some = models.slice(-5).map((one) => one.model_id)
        throw new UsageError(
          `no model ${model_id} is published${some.length === 0 ? '' : `; the last ones are ${some.join(', ')}`}`,
          './plumbline models list',
        )
      }
      await writeOut(globals(command).json ? `${JSON.stringify(model)}\n` : showText(model))
    })
  command
    .command('add <files...>')
    .description('check the files of a model, store them, and publish it')
    .requiredOption('--lineage <name>', 'the training run, or another name that its versions count in')
    .option(
      '--model-version <n>',
      'default: the one after the last of the lineage',
      wholeNumber('model-version', 0, 2 ** 48),
    )
    .option('--role <role>', `${MODEL_ROLES.join(', ')} (default: policy)`, oneOfWords('role', MODEL_ROLES))
    .option('--base <name>', 'what an adapter is applied to, as the server names it')
    .option('--licence <id>', 'SPDX identifier')
    .option('--parent <model>', 'the model that it was trained from')
    .option('--manifest <file>', 'JSON with any field of model.published, e.g. vocabulary and normalisation')
    .option(
      '--size <name=n>',
      'largest size of a dimension that is decided at run time, by its name or as TENSOR.AXIS; may be repeated',
      sizeIn,
      new Map<string, number>(),
    )
    .addHelpText(
      'after',
      '\nFiles are named model.onnx, encoder.onnx, adapter_model.safetensors and adapter_config.json (docs/models.md).\n' +
        '\nExample:\n  ./plumbline models add out/model.onnx --lineage tiny --size batch=64 --size length=32\n',
    )
    .action(async (files: string[], options: AddOptions, command: Command) => {
      const global = globals(command)
      const folder = await openDataFolder(global, { create: true })
      try {
        const wiring = await wiringOn(folder, global)
        await prepareLog(folder, wiring)
        const { lineage, modelVersion: version, role, base, licence, parent, size: sizes } = options
        const given = Object.entries({ role, base, licence, parent }).filter(([, value]) => value !== undefined)
        const manifest = { ...(await manifestIn(options.manifest)), ...Object.fromEntries(given) }
        const place = { log: folder.log, blobs: folder.blobs, partitions: wiring.partitions }
        const wanted = { files, lineage, manifest, sizes, ...(version === undefined ? {} : { version }) }
        const { model_id, published } = await addModel(place, wanted)
        const text = `${published === 'now' ? 'published' : 'published before'} ${model_id}\n`
        await writeOut(global.json ? `${JSON.stringify({ model_id, published })}\n` : text)
      } finally {
        await folder.close()
      }
    })
}

function sizeIn(text: string, before: ReadonlyMap<string, number>): ReadonlyMap<string, number> {
  const [, name, size] = /^(.+)=(\d{1,9})$/.exec(text) ?? []
  if (name === undefined || Number(size) < 1) {
    throw new UsageError(`--size ${text}: expected NAME=N, N at least 1`, 'e.g. --size batch=64')
  }
  return new Map([...before, [name, Number(size)]])
}

async function manifestIn(file: string | undefined): Promise<Record<string, unknown>> {
  if (file === undefined) return {}
  const text = await readTextFile(file)
  try {
    const value: unknown = JSON.parse(text)
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>
  } catch (error) {
    throw new UsageError(`${file}: expected JSON: ${(error as Error).message}`, 'look at the file')
  }
  throw new UsageError(`${file}: expected a JSON object`, 'look at the file')
}

async function modelsOf(command: Command): Promise<KnownModel[]> {
  const global = globals(command)
  const folder = await openDataFolder(global, { create: false, or_read: true })
  try {
    const { partitions } = await wiringOn(folder, global)
    return await readModels({ log: folder.log, blobs: folder.blobs, partitions })
  } finally {
    await folder.close()
  }
}

const COLUMNS = [
  ...[{ name: 'model' }, { name: 'role' }, { name: 'lineage' }, { name: 'version', right: true }],
  ...[{ name: 'bytes', right: true }, { name: 'parent' }, { name: 'published' }, { name: '' }],
]

function listText(models: readonly KnownModel[]): string {
  if (models.length === 0) return 'no model is published\n'
  const rows = models.map(({ model_id, role, lineage, version, files, parent, time, refused }) => [
    ...[model_id, role, lineage, String(version), number(bytesOf(files)), parent ?? '–', time],
    refused.length === 0 ? '' : `refused by ${refused.map(({ processor }) => processor).join(', ')}`,
  ])
  return textTable(COLUMNS, rows)
}

const bytesOf = (files: KnownModel['files']) => files.reduce((sum, { blob }) => sum + blob.bytes, 0)

function showText(model: KnownModel): string {
  const { trained_at: at, normalisation, vocabulary } = model
  const tensors = (of: KnownModel['inputs']) =>
    of.map(({ file, name, dtype, shape }) => `${name} ${dtype} [${shape.join(', ')}] of ${file}`)
  const metrics = Object.entries(model.metrics).map(([name, value]) => `${name} ${value}`)
  const lines: [string, readonly string[]][] = [
    ['model', [`${model.model_id}, a ${model.role}, version ${model.version} of ${model.lineage}`]],
    ['published', [`${model.time} by ${model.source}`]],
    ['parent', model.parent === null ? [] : [model.parent]],
    ['trained at', at === null ? [] : [`${at.consumer}/${at.run}, epoch ${at.epoch}, step ${at.step}`]],
    ['trained on', model.trained_on.length === 0 ? [] : [`${number(model.trained_on.length)} groups or datasets`]],
    ['base', model.base === null ? [] : [model.base]],
    ['licence', model.licence === null ? [] : [model.licence]],
    ['files', model.files.map(({ name, blob }) => `${name} ${number(blob.bytes)} bytes ${blob.sha256}`)],
    ['inputs', tensors(model.inputs)],
    ['outputs', tensors(model.outputs)],
    ['pictures', normalisation === null ? [] : [`${normalisation.width} × ${normalisation.height}`]],
    ['vocabulary', vocabulary === null ? [] : [`${number(vocabulary.length)} tokens`]],
    ['metrics', metrics],
    ['refused', model.refused.map(({ processor, reason }) => `by ${processor}: ${reason}`)],
  ]
  const rows = lines.flatMap(([name, values]) => values.map((value, at) => [at === 0 ? name : '', value]))
  return `${textColumns(rows).join('\n')}\n`
}
