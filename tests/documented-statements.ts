import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const FOLDERS = ['.', 'docs', 'docs/runbook', 'docs/results']
const pathOf = (name: string) => fileURLToPath(new URL(`../${name}`, import.meta.url))

/**
 * Every statement that a page tells its reader to run with `plumbline sql`, once each. CONTRIBUTING is left out: its
 * recipes query tables that they add, and have their own test.
 */
export async function documentedStatements(): Promise<string[]> {
  const pages = await Promise.all(
    FOLDERS.map(async (folder) =>
      (await readdir(pathOf(folder)))
        .filter((name) => /^(?!CONTRIBUTING).*\.md$/.test(name))
        .map((name) => join(folder, name)),
    ),
  )
  const texts = await Promise.all(pages.flat().map((page) => readFile(pathOf(page), 'utf8')))
  const found = texts.flatMap((text) => [...text.matchAll(/^(?:\$ )?\.\/plumbline .*?\bsql "([^"]+)"/gm)])
  return [...new Set(found.map(([, statement = '']) => statement))]
}
