import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { promisify } from 'node:util'
import { type Ended, type Place, plumbline } from '../tests/cli/plumbline.ts'

/** The lines of a page's `sh` blocks: what a reader types. */
export async function commandsOf(page: string): Promise<string[]> {
  const text = await readFile(new URL(`../${page}`, import.meta.url), 'utf8')
  return [...text.matchAll(/^```sh\n([\s\S]*?)^```$/gm)].flatMap(([, body = '']) => body.trim().split('\n'))
}

/** Arguments of a command line, quotes taken off. */
export const wordsOf = (line: string): string[] =>
  [...line.matchAll(/"([^"]*)"|'([^']*)'|(\S+)/g)].map(([, double, single, bare]) => double ?? single ?? bare ?? '')

/** Runs one line of a page: `./plumbline …` in a folder, `curl URL` at the real metrics address, or a shell command. */
export async function typed(line: string, place: Place & { readonly metrics?: string }): Promise<Ended> {
  const [program = '', ...words] = wordsOf(line)
  if (program === './plumbline') return plumbline(words, place)
  if (program === 'curl') {
    const { pathname } = new URL(words.at(-1) ?? '')
    const response = await fetch(`${place.metrics}${pathname}`)
    return { code: 0, signal: null, stdout: `${response.status} ${await response.text()}`, stderr: '' }
  }
  const { stdout, stderr } = await promisify(execFile)('sh', ['-c', line], { cwd: place.cwd })
  return { code: 0, signal: null, stdout, stderr }
}
