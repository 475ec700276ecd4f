import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { appendFile, chmod, cp, mkdir, readdir, readFile, rm, stat, symlink, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { SOURCES } from '../bundle/program-file.mjs'
import { anotherUser, WHY_SKIPPED } from '../testing/another-user.ts'
import { temporaryFolder } from '../testing/temporary-folder.ts'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const LOCKS = ['package-lock.json', 'package.json']
const DAY_S = 86_400

/** A checkout of its own with the installed packages, and `./plumbline` as users start it. */
async function newCheckout() {
  const dir = await temporaryFolder()
  for (const name of [...SOURCES, ...LOCKS, 'bundle', 'guard.mjs', 'plumbline']) {
    await cp(join(ROOT, name), join(dir, name), { recursive: true })
  }
  // A link for each package, not one for all: an installer in the copy would empty the folder behind that.
  await mkdir(join(dir, 'node_modules'))
  for (const name of await readdir(join(ROOT, 'node_modules'))) {
    await symlink(join(ROOT, 'node_modules', name), join(dir, 'node_modules', name))
  }
  await rm(join(dir, 'node_modules', '.plumbline-installed'), { force: true })
  const locks = await Promise.all(LOCKS.map((name) => readFile(join(ROOT, name), 'utf8')))
  const installed = createHash('sha256').update(locks.join('\n')).digest('hex')
  await writeFile(join(dir, 'node_modules', '.plumbline-installed'), installed)

  const bundles = async () =>
    (await readdir(join(dir, '.guard')).catch(() => [])).filter((name) => name.startsWith('program-')).sort()
  const run = async (...[program = '', ...args]: readonly string[]) => {
    const { stdout, stderr } = await promisify(execFile)(program, args, { cwd: dir })
    return { stdout, stderr }
  }
  return { dir, bundles, run, plumbline: (...args: readonly string[]) => run('./plumbline', ...args) }
}

/** Has a source print the file that runs. */
const tellFile = (dir: string, word = 'runs') =>
  appendFile(join(dir, 'cli', 'main.ts'), `process.stderr.write(\`${word} \${process.argv[1]}\\n\`)\n`)

test('after a source changes, the changed source runs, and a bundle is built once', async () => {
  const { dir, bundles, plumbline } = await newCheckout()
  expect(await plumbline('--version')).toMatchObject({ stderr: '' })
  const [first, ...others] = await bundles()
  expect(others).toEqual([])
  await tellFile(dir)
  const { stderr } = await plumbline('--version')
  expect(await bundles()).toHaveLength(2)
  const [changed] = (await bundles()).filter((name) => name !== first)
  expect(stderr).toBe(`runs ${dir}/.guard/${changed}/cli-main.mjs\n`)
  expect(await plumbline('--version')).toMatchObject({ stderr })
  expect(await bundles()).toHaveLength(2)
})

test('a bundle has all code of the program, its threads and its processes', async () => {
  const { dir, bundles, run, plumbline } = await newCheckout()
  await plumbline('--version')
  for (const folder of SOURCES) {
    for (const name of await readdir(join(dir, folder), { recursive: true })) {
      if (name.endsWith('.ts')) await rm(join(dir, folder, name))
    }
  }
  await writeFile(join(dir, 'reward.js'), 'export const version = 1\nexport function reward() { return 0.5 }\n')
  const [bundle = ''] = await bundles()
  const program = (...args: readonly string[]) =>
    run(process.execPath, '--disable-warning=ExperimentalWarning', join('.guard', bundle, 'cli-main.mjs'), ...args)
  const tower = ['--dataset', 'side_block', '--task', 'x_y', '--seed', '7', '--scenes', '2', '--group-size', '2']
  await program('generate', 'tower', ...tower)
  await program('run', '--until-idle', '--policy', 'random-legal')
  await program('rescore', '--name', 'half', '--reward', 'reward.js')
  expect((await program('sql', 'select count(*)::int as n from rewards', '--format', 'json')).stdout).toMatch(
    /"n":\s*8\b/,
  )
  expect((await program('verify')).stdout).toBe('verify: passed\n')
})

test('with --debug the sources run, so that a stack names their lines', async () => {
  const { dir, bundles, plumbline } = await newCheckout()
  await tellFile(dir)
  expect((await plumbline('--debug', '--version')).stderr).toBe(`runs ${dir}/cli/main.ts\n`)
  expect(await bundles()).toEqual([])
})

test('two concurrent first starts build one bundle, and both run', async () => {
  const { bundles, plumbline } = await newCheckout()
  const [one, other] = await Promise.all([plumbline('--version'), plumbline('--version')])
  expect(one).toEqual({ stdout: expect.stringMatching(/^\d+\.\d+\.\d+\n$/), stderr: '' })
  expect(other).toEqual(one)
  expect(await bundles()).toHaveLength(1)
})

test('a bundle that was last used three days ago is removed when another is built, a younger one stays', async () => {
  const { dir, bundles, plumbline } = await newCheckout()
  const at = (name: string) => join(dir, '.guard', name)
  const now_s = Date.now() / 1_000
  for (const [name, days] of [
    ['program-old', 3.1],
    ['program-young', 2.9],
  ] as const) {
    await mkdir(at(name), { recursive: true })
    await utimes(at(name), now_s - days * DAY_S, now_s - days * DAY_S)
  }
  await plumbline('--version')
  const [made = ''] = (await bundles()).filter((name) => name !== 'program-young')
  expect(await bundles()).toEqual([made, 'program-young'])

  // Using a bundle makes it young.
  await utimes(at(made), now_s - 4 * DAY_S, now_s - 4 * DAY_S)
  await plumbline('--version')
  expect((await stat(at(made))).mtimeMs / 1_000).toBeGreaterThan(now_s - 1)
})

test.skipIf(anotherUser.refused !== undefined)(
  `in a checkout that this user may not write, the sources run, or the bundle that its owner built${WHY_SKIPPED}`,
  async () => {
    const { dir, bundles, run, plumbline } = await newCheckout()
    await chmod(dir, 0o755)
    await tellFile(dir)
    const asAnother = () => run(...anotherUser.within, process.execPath, join(dir, 'guard.mjs'), '--version')
    expect((await asAnother()).stderr).toBe(`runs ${dir}/cli/main.ts\n`)
    await plumbline('--version')
    const [made = ''] = await bundles()
    expect((await asAnother()).stderr).toBe(`runs ${dir}/.guard/${made}/cli-main.mjs\n`)
  },
)
