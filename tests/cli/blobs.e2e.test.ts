import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { eventually, plumbline, plumblineOk, sharedFolder, start } from './plumbline.ts'

const SCENES = 5
const blobsOf = (dir: string) =>
  (readdirSync(dir, { recursive: true }) as string[]).filter((name) => /\w{62}$/.test(name))

test('a host with a folder of its own brings in scenes: their pictures are at the server when the log names them', async () => {
  const cwd = await sharedFolder()
  const server = start(['--data', 'served', 'blobs', 'serve', '--listen', '127.0.0.1:0'], { cwd })
  const [, token = '', url = ''] = await eventually(() => /TOKEN=(\S+)\n.*at (http:\S+)\n/.exec(server.stdout()))
  const log = ['--log', `lmdb:${join(cwd, 'log')}`, '--blobs', url]
  const generate = 'generate tower --dataset top_block --task x_only --seed 1 --scenes'
    .split(' ')
    .concat(String(SCENES))

  const refused = await plumbline(['--data', 'mine', ...log, ...generate], { cwd })
  expect([refused.code, refused.stderr]).toEqual([2, expect.stringContaining('PLUMBLINE_BLOBS_TOKEN is not set')])
  const wrong = await plumbline(['--data', 'mine', ...log, ...generate], { cwd, env: { PLUMBLINE_BLOBS_TOKEN: 'no' } })
  expect([wrong.code, wrong.stderr]).toEqual([1, expect.stringContaining('the token was refused')])

  const env = { PLUMBLINE_BLOBS_TOKEN: token }
  await plumblineOk(['--data', 'mine', ...log, ...generate], { cwd, env })
  expect(blobsOf(join(cwd, 'served', 'blobs'))).toHaveLength(SCENES)

  // A third host, which has none of the blobs, copies them all.
  await plumblineOk(['--data', 'third', ...log, 'replay', '--to', 'copy'], { cwd, env })
  expect(blobsOf(join(cwd, 'copy', 'blobs')).sort()).toEqual(blobsOf(join(cwd, 'served', 'blobs')).sort())

  server.child.kill('SIGTERM')
  expect((await server.ended).code).toBe(0)
})
