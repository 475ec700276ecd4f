import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { assertInstalled, pythonOutput, sampled } from './python.ts'

export interface Script {
  readonly name: string
  readonly body: string
}

/** Runs scripts of a page in a reader's folder, with a feed and the tiny model's folder. @returns what each printed */
export async function pageRun(
  groups: number,
  scripts: (of: { url: string; model: string }) => readonly Script[],
): Promise<string[]> {
  assertInstalled()
  const folder = mkdtempSync(join(tmpdir(), 'plumbline-trl-page-'))
  const stops: (() => Promise<unknown>)[] = []
  try {
    const url = await sampled({ folder, size: 4, groups }, stops)
    const model = join(folder, 'tiny')
    await pythonOutput(['-m', 'tests_torch.tiny_model', model])
    const printed: string[] = []
    for (const { name, body } of scripts({ url, model })) {
      writeFileSync(join(folder, name), body)
      printed.push(await pythonOutput([name], folder))
    }
    return printed
  } finally {
    for (const stop of stops.reverse()) await stop()
    rmSync(folder, { recursive: true, force: true })
  }
}
