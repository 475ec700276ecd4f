import { execFile } from 'node:child_process'
import { cp, mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { wordsOf } from '../../testing/page-commands.ts'
import { temporaryFolder } from '../../testing/temporary-folder.ts'
import { stepsOf, withLines } from './page-steps.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const NOT_COPIED = ['node_modules', '.git', '.guard', '.venv', '.venv-trl', 'data']
const GOLDENS = 'npm run goldens'
const VITEST = ['node_modules/vitest/vitest.mjs', 'run']

async function copyOfRepository(): Promise<string> {
  const copy = join(await temporaryFolder(), 'plumbline')
  await cp(ROOT, copy, {
    recursive: true,
    filter: (path) => !NOT_COPIED.includes(relative(ROOT, path).split('/')[0] ?? ''),
  })
  // A link for each package, not one for all: an installer in the copy would empty the folder behind that.
  await mkdir(join(copy, 'node_modules'))
  for (const name of await readdir(join(ROOT, 'node_modules'))) {
    await symlink(join(ROOT, 'node_modules', name), join(copy, 'node_modules', name))
  }
  return copy
}

/** Runs a program on this Node in the copy. @throws Error with all its output when it fails */
async function node(copy: string, args: readonly string[]): Promise<string> {
  const { VITEST: _in_vitest, VITEST_WORKER_ID: _worker, NODE_OPTIONS: _options, ...env } = process.env
  try {
    const options = { cwd: copy, env: { ...env, NO_COLOR: '1' }, maxBuffer: 2 ** 26 }
    const { stdout } = await promisify(execFile)(
      process.execPath,
      ['--disable-warning=ExperimentalWarning', ...args],
      options,
    )
    return stdout
  } catch (error) {
    const { stdout = '', stderr = '' } = error as { stdout?: string; stderr?: string }
    throw new Error(`${args.join(' ')}\n${stdout}\n${stderr}`, { cause: error })
  }
}

/** What a line of the page starts, less the guard: its packages are installed, and the checks of `npm test` are below. */
async function programOf(copy: string, line: string): Promise<readonly string[]> {
  const [program, ...words] = wordsOf(line)
  if (program === './plumbline') return ['cli/main.ts', ...words]
  if (line.startsWith('npm test -- ')) return [...VITEST, ...words.slice(2)]
  const { scripts } = JSON.parse(await readFile(join(copy, 'package.json'), 'utf8')) as {
    scripts: Record<string, string>
  }
  const script = program === 'npm' && words[0] === 'run' ? scripts[words[1] ?? ''] : undefined
  if (script === undefined) throw new Error(`expected a script of package.json or a plumbline command, got ${line}`)
  return script.replace('node guard.mjs --exec ', '').split(' ')
}

test('the recipes of CONTRIBUTING do what they say', { timeout: 1_800_000 }, async () => {
  const copy = await copyOfRepository()
  const printed = new Map<string, string>()
  const steps = await stepsOf(new URL('../../CONTRIBUTING.md', import.meta.url), 'Recipes')
  const last_goldens = steps.findLast((step) => step.kind === 'run' && step.lines.includes(GOLDENS))
  for (const step of steps) {
    if (step.kind === 'create') {
      await mkdir(dirname(join(copy, step.file)), { recursive: true })
      await writeFile(join(copy, step.file), step.text)
    } else if (step.kind === 'insert') {
      const file = join(copy, step.file)
      await writeFile(file, withLines(await readFile(file, 'utf8'), step))
    } else {
      for (const line of step.lines) {
        // The slowest command. Each run writes what all recipes so far have changed, so the last one is enough.
        if (line === GOLDENS && step !== last_goldens) continue
        printed.set(line, await node(copy, await programOf(copy, line)))
      }
    }
  }
  expect(printed.get('./plumbline verify')).toBe('verify: passed\n')
  const means = [...(printed.get('./plumbline report marks') ?? '').matchAll(/^ *([\d.]+) +(\d+)$/gm)]
  expect(means.map(([, mean, groups]) => `${mean}: ${groups}`)).toEqual([
    '2.00: 3',
    '2.67: 2',
    '3.00: 3',
    '3.33: 2',
    '4.00: 2',
  ])
  const printedBy = (start: string) => [...printed].find(([line]) => line.startsWith(start))?.[1] ?? ''
  expect(printedBy('./plumbline lag --sqlite')).toMatch(/^sqlite +0 +0 /m)
  const records = new DatabaseSync(join(copy, 'data/records.sqlite'), { readOnly: true })
  const marked = records.prepare("SELECT count(*) AS count FROM records WHERE topic = 'marks.group_marked'").get()
  records.close()
  expect(marked).toEqual({ count: 36 })
  expect(printed.get('./plumbline dlq list')).toBe('no dead letters\n')
  const origins = [...printedBy('./plumbline sql "select origin').matchAll(/^(\w+) +(\d+) +(\d+)$/gm)]
  expect(origins.map(([, origin, groups, completions]) => `${origin}: ${groups}, ${completions}`)).toEqual([
    'sums: 6, 24',
    'tower: 2, 8',
  ])

  // What `npm test` checks of the new files, and the tests that show the topology as a whole.
  await node(copy, ['node_modules/typescript/bin/tsc', '--noEmit', '-p', '.'])
  await node(copy, ['node_modules/@biomejs/biome/bin/biome', 'check', '--error-on-warnings', '.'])
  const cruiser = 'node_modules/dependency-cruiser/bin/dependency-cruiser.mjs'
  await node(copy, [cruiser, '--config', '.dependency-cruiser.mjs', '.'])
  await node(copy, [...VITEST, 'schemas/wire/fingerprint', 'streams', 'tests/documents', 'tests/sql-plans'])
  const simulated = await node(copy, ['tests/simulation/main.ts', '--seed', '1', '--schedules', '40'])
  expect(simulated).toContain('40 schedules, 0 failed')
})
