import { spawnSync } from 'node:child_process'
import { chmodSync, cpSync, existsSync, lstatSync, mkdirSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { anotherUser, WHY_SKIPPED } from '../../testing/another-user.ts'
import { type Ended, eventually, type Place, plumbline, plumblineOk, sharedFolder, start } from './plumbline.ts'

/** Permissions: files are private to one user, and a read-only folder can be read. */

const UMASK: Place['within'] = ['sh', '-c', 'umask 022; exec "$@"', 'sh']
const TOWER = ['generate', 'tower', '--dataset', 'side_block', '--task', 'x_y', '--scenes', '6', '--seed', '7']
const is_root = process.getuid?.() === 0
const RUN = ['run', '--policy', 'random-legal']

let cwd = ''
beforeAll(async () => {
  cwd = await sharedFolder()
  await plumblineOk([...TOWER, '--group-size', '4'], { cwd, within: UMASK })
  await plumblineOk([...RUN, '--until-idle'], { cwd, within: UMASK })
})

/** The entries of a folder to which group or others have any permission. */
function openToOthers(folder: string): string[] {
  const entries = ['.', ...(readdirSync(folder, { recursive: true }) as string[])]
  return entries.filter((entry) => (lstatSync(join(folder, entry)).mode & 0o077) !== 0)
}

test('files, folders and sockets of a data folder are its user’s alone, whatever the umask, also while it runs', async () => {
  const data = join(cwd, 'data')
  expect(openToOthers(data)).toEqual([])
  const running = start(RUN, { cwd, within: UMASK })
  await eventually(
    () => existsSync(join(data, 'plumbline.duckdb.owner')) || existsSync(join(data, 'plumbline.duckdb.sock')),
  )
  expect(openToOthers(data)).toEqual([])
  running.child.kill('SIGTERM')
  expect((await running.ended).code).toBe(0)
})

test('with --shared their permissions are the umask’s, and the folder remembers it', async () => {
  const data = join(cwd, 'shared')
  await plumblineOk(['--data', data, '--shared', ...TOWER, '--group-size', '4'], { cwd, within: UMASK })
  await plumblineOk(['--data', data, ...RUN, '--until-idle'], { cwd, within: UMASK })
  for (const name of ['.', 'log/data.mdb', 'plumbline.duckdb', 'blobs']) {
    expect(lstatSync(join(data, name)).mode & 0o055, name).not.toBe(0)
  }
})

test.skipIf(anotherUser.refused !== undefined)(
  `a user who may read a shared folder can query the run that is active in it${WHY_SKIPPED}`,
  async () => {
    const data = join(cwd, 'shared')
    chmodSync(cwd, 0o755)
    const running = start(['--data', data, ...RUN], { cwd, within: UMASK })
    await eventually(() => existsSync(join(data, 'plumbline.duckdb.sock')))
    for (const args of [['sql', 'select count(*) from rewards'], ['lag'], ['verify']]) {
      const ended = await plumbline(['--data', data, ...args], { cwd, within: anotherUser.within })
      expect({ args, ...ended }).toMatchObject({ code: 0 })
    }
    expect(lstatSync(join(data, 'plumbline.duckdb.sock')).mode & 0o777).toBe(0o666)
    running.child.kill('SIGTERM')
    expect((await running.ended).code).toBe(0)
  },
)

test.skipIf(anotherUser.refused !== undefined)(
  `a folder of another user is not reported as empty${WHY_SKIPPED}`,
  async () => {
    const ended = await plumbline(['lag'], { cwd, within: anotherUser.within })
    expect(ended.stderr).toMatch(/expected a data folder that this user may read, found another user's\n.*--shared/)
    expect(ended.code).toBe(2)
  },
)

const ASKED: readonly (readonly string[])[] = [
  ['lag'],
  ['tail', 'tower.completions_scored', '--limit', '1'],
  ['dlq', 'list'],
  ['positions', 'list'],
  ['report', 'funnel'],
  ['verify'],
  ['sql', 'select count(*) from rewards'],
  ['sql', '--as-of', new Date().toISOString(), 'select count(*) from rewards'],
]

/** The answers from the writable folder, by command. */
const ELSEWHERE = new Map<string, string>()

/** A data folder on a read-only disk, and one that belongs to another user. */
const READ_ONLY: readonly [
  what: string,
  make: (from: string, to: string) => Place['within'] | string,
  unmake: (to: string) => void,
][] = [
  [
    'on a read-only file system',
    (from, to) => {
      mkdirSync(to)
      const bound = spawnSync('mount', ['--bind', from, to], { encoding: 'utf8' })
      const made = bound.status === 0 ? spawnSync('mount', ['-o', 'remount,bind,ro', to], { encoding: 'utf8' }) : bound
      return made.status === 0 ? [] : (made.error?.message ?? made.stderr.trim())
    },
    (to) => void spawnSync('umount', [to]),
  ],
  [
    'of another user',
    (from, to) => {
      cpSync(from, to, { recursive: true })
      for (const entry of ['.', ...(readdirSync(to, { recursive: true }) as string[])]) {
        const path = join(to, entry)
        chmodSync(path, lstatSync(path).isDirectory() ? 0o555 : 0o444)
      }
      // Root may write anywhere.
      return is_root ? (anotherUser.refused ?? anotherUser.within) : []
    },
    () => {},
  ],
]

describe.each(READ_ONLY)('a data folder %s', (_, make, unmake) => {
  let place: Place
  let data = ''
  let refused = ''

  beforeAll(() => {
    data = join(cwd, `read-only-${readdirSync(cwd).length}`)
    chmodSync(cwd, 0o755)
    const within = make(join(cwd, 'data'), data)
    if (typeof within === 'string') refused = within
    else place = { cwd, within: within ?? [] }
  })
  afterAll(() => unmake(data))

  const ask = (args: readonly string[]): Promise<Ended> => plumbline(['--data', data, ...args], place)

  test.each(ASKED.map((args) => [args.join(' '), args] as const))(
    '%s: answers as in any other folder',
    async (_, args) => {
      if (refused !== '') return void console.warn(`left out: no such folder here: ${refused}`)
      const elsewhere = ELSEWHERE.get(args.join(' ')) ?? (await plumbline(args, { cwd })).stdout
      ELSEWHERE.set(args.join(' '), elsewhere)
      const { code, stdout } = await ask(args)
      expect({ code, stdout }).toEqual({ code: 0, stdout: elsewhere })
      expect(stdout).not.toBe('')
    },
  )

  test('export and replay can write elsewhere, run names the remedy', async () => {
    if (refused !== '') return void console.warn(`left out: no such folder here: ${refused}`)
    const out = join(cwd, `out-${readdirSync(cwd).length}`)
    mkdirSync(out)
    chmodSync(out, 0o777)
    expect(await ask(['export', 'parquet', join(out, 'rewards')])).toMatchObject({ code: 0 })
    expect(readdirSync(out)).toEqual(['rewards'])
    expect(await ask(['replay', '--from', `lmdb:${data}/log`, '--to', `lmdb:${out}/log`])).toMatchObject({ code: 0 })
    const ended = await ask(RUN)
    expect(ended.stderr).toMatch(/expected a folder that this user may write, found one that refuses it/)
    expect(ended.code).toBe(1)
    const inside = await ask(['export', 'parquet', join(data, 'rewards')])
    expect(inside.stderr).toMatch(
      /(not permitted|the disk is read-only) \(E(ACCES|ROFS) at access\)\n {2}name another place/,
    )
  })
})

test('a limit on open files at which Node itself would end silently: what is expected, found, and to do', () => {
  const program = fileURLToPath(new URL('../../plumbline', import.meta.url))
  const { status, stderr } = spawnSync('sh', ['-c', 'ulimit -n 20; exec "$0" lag', program], { encoding: 'utf8' })
  expect(stderr).toMatch(/expected to be allowed at least 64 open files, found 20\n {2}raise the limit: ulimit -n 4096/)
  expect(status).toBe(1)
})
