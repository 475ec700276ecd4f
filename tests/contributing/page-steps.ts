import { readFile } from 'node:fs/promises'

/** One fenced block of a page, as a step for its reader. */
export type Step =
  | { readonly kind: 'create'; readonly file: string; readonly text: string }
  /** Lines to insert, each run of them after a line that the file has once. */
  | { readonly kind: 'insert'; readonly file: string; readonly runs: readonly Run[] }
  | { readonly kind: 'run'; readonly lines: readonly string[] }

interface Run {
  readonly after: string
  readonly lines: readonly string[]
}

/** The steps of one `##` section of a page. @throws Error when a block of it is no step */
export async function stepsOf(page: URL, section: string): Promise<readonly Step[]> {
  const text = await readFile(page, 'utf8')
  const [, body] = text.split(`\n## ${section}\n`)
  if (body === undefined) throw new Error(`${page.pathname}: expected a section "## ${section}"`)
  const [own = ''] = body.split('\n## ')
  return [...own.matchAll(/^```(\w+)(?: (\S+))?\n([\s\S]*?)^```$/gm)].map(([, language, file, block = '']): Step => {
    if (language === 'sh') return { kind: 'run', lines: block.trim().split('\n') }
    if (language === 'ts' && file !== undefined) return { kind: 'create', file, text: block }
    if (language === 'diff' && file !== undefined) return { kind: 'insert', file, runs: runsOf(block, file) }
    throw new Error(`${page.pathname}: expected a block of sh, ts FILE or diff FILE, got ${language} ${file ?? ''}`)
  })
}

function runsOf(diff: string, file: string): Run[] {
  const runs: { after: string; lines: string[] }[] = []
  for (const line of diff.trimEnd().split('\n')) {
    if (line.startsWith(' ')) runs.push({ after: line.slice(1), lines: [] })
    else if (line.startsWith('+') && runs.length > 0) runs.at(-1)?.lines.push(line.slice(1))
    else throw new Error(`${file}: expected a line of the file, after a space, then lines to add, after a +: ${line}`)
  }
  return runs
}

/** @throws Error when the file does not have each of the lines exactly once */
export function withLines(text: string, { file, runs }: Extract<Step, { kind: 'insert' }>): string {
  return runs.reduce((before, { after, lines }) => {
    const all = before.split('\n')
    const found = all.flatMap((line, at) => (line === after ? [at] : []))
    const [place] = found
    if (place === undefined || found.length > 1) {
      throw new Error(`${file}: expected one line ${JSON.stringify(after)}, got ${found.length}`)
    }
    return all.toSpliced(place + 1, 0, ...lines).join('\n')
  }, text)
}
