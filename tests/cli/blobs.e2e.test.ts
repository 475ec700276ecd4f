import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { NO_MOTO, startMoto } from '../../infra/blobs/conformance/moto.ts'
import { eventually, plumbline, plumblineOk, sharedFolder, start } from './plumbline.ts'

const SCENES = 5
const blobsOf = (dir: string) =>
  (readdirSync(dir, { recursive: true }) as string[]).filter((name) => /\w{62}$/.test(name))

test('a host with its own folder ingests scenes: their pictures are at the server when the log names them', async () => {
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

if (NO_MOTO !== undefined) test.skip(`a bucket holds the blobs of several hosts (skipped: ${NO_MOTO})`)
else {
  test('a bucket holds the blobs of several hosts', async () => {
    const cwd = await sharedFolder()
    const moto = await startMoto()
    onTestFinished(() => moto.stop())
    const { endpoint, access_key_id, secret_access_key } = await moto.bucket('towers')
    const log = ['--log', `lmdb:${join(cwd, 'log')}`, '--blobs', 's3://towers/some/prefix']
    const generate = 'generate tower --dataset top_block --task x_only --seed 1 --scenes'
      .split(' ')
      .concat(String(SCENES))

    const refused = await plumbline(['--data', 'mine', ...log, ...generate], { cwd })
    expect([refused.code, refused.stderr]).toEqual([2, expect.stringContaining('AWS_ACCESS_KEY_ID is not set')])

    const keys = { AWS_ACCESS_KEY_ID: access_key_id, AWS_SECRET_ACCESS_KEY: secret_access_key }
    const env = { ...keys, AWS_ENDPOINT_URL_S3: endpoint }
    const absent = [...log.slice(0, 3), 's3://absent']
    const wrong = await plumbline(['--data', 'mine', ...absent, ...generate], { cwd, env })
    expect([wrong.code, wrong.stderr]).toEqual([1, expect.stringMatching(/NoSuchBucket.*there is no such bucket/)])

    await plumblineOk(['--data', 'mine', ...log, ...generate], { cwd, env })
    expect(blobsOf(join(cwd, 'mine', 'blob-cache'))).toHaveLength(SCENES)
    expect(readdirSync(join(cwd, 'mine'))).not.toContain('blobs')

    await plumblineOk(['--data', 'third', ...log, 'replay', '--to', 'copy'], { cwd, env })
    expect(blobsOf(join(cwd, 'copy', 'blobs')).sort()).toEqual(blobsOf(join(cwd, 'mine', 'blob-cache')).sort())

    const options = { cwd, env: { ...env, PLUMBLINE_BLOBS: 's3://towers/some/prefix', PLUMBLINE_BLOB_CACHE_GIB: 'x' } }
    const limit = await plumbline(['--data', 'third', ...log.slice(0, 2), 'replay', '--to', 'other'], options)
    expect([limit.code, limit.stderr]).toEqual([2, expect.stringContaining('PLUMBLINE_BLOB_CACHE_GIB x: expected')])
  })
}
