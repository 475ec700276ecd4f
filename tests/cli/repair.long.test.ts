import { cpSync, existsSync, readdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, expect, test } from 'vitest'
import { plumbline, plumblineOk, sharedFolder, sql } from './plumbline.ts'

const LIMIT = { timeout: 300_000 }
const REWARDS = 'select task, outcome, count(*)::int as n from rewards group by all order by all'

let cwd = ''
let rewards: unknown[] = []
beforeAll(async () => {
  cwd = await sharedFolder()
  const generate = 'generate tower --dataset side_block --task x_y --scenes 24 --group-size 4 --seed 1'
  await plumblineOk(generate.split(' '), { cwd })
  await plumblineOk(['run', '--until-idle'], { cwd })
  rewards = await sql(REWARDS, { cwd })
})

const log = (data: string) => join(cwd, data, 'log', 'data.mdb')

/** Damages a copy of the data, repairs it, runs the commands that the output names, and then `run`. */
async function repairCopy(name: string, damage: (file: string) => void): Promise<string> {
  cpSync(join(cwd, 'data'), join(cwd, name), { recursive: true })
  damage(log(name))
  const before = readFileSync(log(name))
  const printed = await plumblineOk(['--data', name, 'repair', '--to', `${name}-whole`], { cwd })
  expect(readFileSync(log(name)).equals(before)).toBe(true)
  for (const [, typed = ''] of printed.matchAll(/Before any other run: (.*)/g)) {
    for (const command of typed.split(/; then |, which/).filter((part) => part.startsWith('./plumbline '))) {
      await plumblineOk(command.trim().split(' ').slice(1), { cwd })
    }
  }
  await plumblineOk(['--data', `${name}-whole`, 'run', '--until-idle'], { cwd })
  return printed
}

test(
  'a truncated log is refused with the command, which copies the intact records; derived events are recomputed',
  LIMIT,
  async () => {
    const printed = await repairCopy('cut', (file) => truncateSync(file, Math.floor(statSync(file).size * 0.6)))
    const refused = await plumbline(['--data', 'cut', 'verify'], { cwd })
    expect([refused.code, refused.stderr]).toEqual([
      1,
      expect.stringMatching(/damaged one: .*\n.*\.\/plumbline repair --to NEWDIR/),
    ])
    expect(printed).toMatch(
      /lost: \S+ partition \d offsets? \d+.*, \d+ records? at most|are lost without being counted/,
    )
    const whole = { cwd, env: { PLUMBLINE_DATA: join(cwd, 'cut-whole') } }
    const verified = await plumbline(['--data', 'cut-whole', 'verify'], { cwd })
    expect([verified.code, verified.stdout], verified.stderr).toEqual([0, expect.stringContaining('verify: passed')])
    expect(await sql(REWARDS, whole)).toEqual(rewards)
  },
)

test('a log without its meta pages is repaired whole, and the next run finds nothing to do', LIMIT, async () => {
  const printed = await repairCopy('headless', (file) => {
    const bytes = readFileSync(file)
    writeFileSync(file, bytes.fill(0, 0, 8192))
  })
  expect(printed).not.toMatch(/lost: /)
  const verified = await plumbline(['--data', 'headless-whole', 'verify', '--blobs'], { cwd })
  expect([verified.code, verified.stdout], verified.stderr).toEqual([0, expect.stringContaining('verify: passed')])
  expect(await sql(REWARDS, { cwd, env: { PLUMBLINE_DATA: join(cwd, 'headless-whole') } })).toEqual(rewards)
})

test('a damaged blob is named and not copied', LIMIT, async () => {
  cpSync(join(cwd, 'data'), join(cwd, 'blob'), { recursive: true })
  const shard = join(
    cwd,
    'blob',
    'blobs',
    readdirSync(join(cwd, 'blob', 'blobs')).find((name) => /^[0-9a-f]{2}$/.test(name)) as string,
  )
  const file = join(shard, readdirSync(shard)[0] as string)
  writeFileSync(file, 'something else')
  const printed = await plumblineOk(['--data', 'blob', 'repair', '--to', 'blob-whole'], { cwd })
  expect(printed).toContain(`blob ${file}: has another hash`)
  expect(existsSync(file.replace('/blob/', '/blob-whole/'))).toBe(false)
})

test.each([
  [['repair'], 2, /required option '--to <dir>' not specified/],
  [['repair', '--to', 'data'], 2, /--to data: expected an empty folder/],
  [['--data', 'nowhere', 'repair', '--to', 'new'], 2, /there is no log/],
  [['--log', 'kafka://127.0.0.1:1', 'repair', '--to', 'new'], 2, /expected lmdb:DIR/],
] as const)('%s is refused with a message', async (args, code, says) => {
  const ended = await plumbline(args, { cwd })
  expect([ended.code, ended.stderr]).toEqual([code, expect.stringMatching(says)])
})
