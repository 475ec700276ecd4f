import { readFile, writeFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { pythonDeclarationsOf } from '../schemas/derive/python-declarations.ts'
import { modelPublished } from '../schemas/events/model.ts'
import { groupFormed } from '../schemas/events/rollout.ts'
import { TRAINING_EVENTS } from '../schemas/events/training.ts'
import { asMermaid, asShape } from '../streams/describe.ts'
import { DEFAULTS, topology } from '../streams/topology.ts'

/** A part of a document that a command writes, between `<!-- NAME: npm run docs -->` and `<!-- /NAME -->`. */
interface GeneratedPart {
  readonly file: string
  readonly name: string
  readonly make: () => Promise<string>
}

export const UPDATE_DOCUMENTS = 'npm run docs'

const fenced = (language: string, body: string) => `\`\`\`${language}\n${body}\n\`\`\``

export const GENERATED_PARTS: readonly GeneratedPart[] = [
  { file: 'README.md', name: 'topology', make: async () => fenced('', asShape(await topology(DEFAULTS))) },
  {
    file: 'ARCHITECTURE.md',
    name: 'topology',
    // Without the sink's arrows: it reads every event.
    make: async () => {
      const lines = asMermaid(await topology(DEFAULTS)).split('\n')
      return fenced('mermaid', lines.filter((line) => !line.includes('-.->')).join('\n'))
    },
  },
]

/** @returns the document as it is, and as it would be with this part regenerated */
export async function documentWith({ file, name, make }: GeneratedPart): Promise<{ is: string; should_be: string }> {
  const is = await readFile(pathOf(file), 'utf8')
  const [begin, end] = [`<!-- ${name}: ${UPDATE_DOCUMENTS} -->\n`, `\n<!-- /${name} -->`]
  const [from, to] = [is.indexOf(begin), is.indexOf(end)]
  if (from < 0 || to < from) {
    throw new Error(
      `${file}: expected the lines "${begin.trim()}" and "${end.trim()}", between which ${name} is written`,
    )
  }
  return { is, should_be: is.slice(0, from + begin.length) + (await make()) + is.slice(to) }
}

/** Writes every generated part and file. @returns the files that changed */
export async function writeDocuments(): Promise<readonly string[]> {
  const changed: string[] = []
  for (const part of GENERATED_PARTS) {
    const { is, should_be } = await documentWith(part)
    if (is === should_be) continue
    await writeFile(pathOf(part.file), should_be)
    changed.push(part.file)
  }
  for (const generated of GENERATED_FILES) {
    const { is, should_be } = await fileWith(generated)
    if (is === should_be) continue
    await writeFile(pathOf(generated.file), should_be)
    changed.push(generated.file)
  }
  return changed
}

const pathOf = (file: string) => fileURLToPath(new URL(`../${file}`, import.meta.url))

/** Files that are written as a whole. */
export const GENERATED_FILES = [
  {
    file: 'python/plumbline/kafka/declared.py',
    make: () => pythonDeclarationsOf([groupFormed, modelPublished, ...TRAINING_EVENTS]),
  },
] as const

/** @returns the file as it is, and as it would be written */
export async function fileWith({ file, make }: (typeof GENERATED_FILES)[number]) {
  return { is: await readFile(pathOf(file), 'utf8').catch(() => ''), should_be: make() }
}
