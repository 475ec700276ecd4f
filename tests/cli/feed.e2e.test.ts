import { readFile } from 'node:fs/promises'
import { get } from 'node:https'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { beforeAll, describe, expect, test } from 'vitest'
import { certificate, NO_OPENSSL } from '../../testing/certificate.ts'
import { eventually, plumbline, plumblineOk, sharedFolder, start } from './plumbline.ts'

let cwd = ''
beforeAll(async () => {
  cwd = await sharedFolder()
})

test('a token that the program makes is let in by its feed, and a call without one is not', async () => {
  const may = ['--consumers', 'lab,eval-*', '--roles', 'read,receipts', '--tokens', 'tokens.json']
  const made = await plumbline(['feed', 'token', 'gpu-1', ...may], { cwd })
  expect(made.code).toBe(0)
  const token = made.stdout.trim()
  expect(token).toMatch(/^[\w-]{32}$/)
  expect(made.stderr).not.toContain(token)
  expect(await readFile(join(cwd, 'tokens.json'), 'utf8')).not.toContain(token)
  const other = JSON.parse(await plumblineOk(['feed', 'token', 'gpu-2', ...may, '--json'], { cwd }))
  expect(other).toEqual({ name: 'gpu-2', token: expect.stringMatching(/^[\w-]{32}$/) })

  const feed = start(['feed', '--listen', '127.0.0.1:0', '--tokens', 'tokens.json'], { cwd })
  const [, url = ''] = await eventually(() => /the feed of .* at (http:\S+)\n/.exec(feed.stdout()))
  const status = async (headers: Record<string, string>) => (await fetch(`${url}/v1/consumers`, { headers })).status
  expect(await status({})).toBe(401)
  expect(await status({ authorization: `Bearer ${token}` })).toBe(200)
  expect(await status({ authorization: `Bearer ${other.token}` })).toBe(200)
  feed.child.kill('SIGTERM')
  expect((await feed.ended).code).toBe(0)
})

test.skipIf(NO_OPENSSL)('a feed with a certificate is reached over HTTPS alone', async () => {
  const { cert, cert_file, key_file } = await certificate()
  const may = ['--consumers', '*', '--roles', 'read', '--tokens', 'tls-tokens.json']
  const token = (await plumblineOk(['feed', 'token', 'reader', ...may], { cwd })).trim()
  const pair = ['--tls-cert', cert_file, '--tls-key', key_file]
  const feed = start(['feed', '--listen', '0.0.0.0:0', '--tokens', 'tls-tokens.json', ...pair], { cwd })
  const [, port = ''] = await eventually(() => /the feed of .* at https:\/\/0\.0\.0\.0:(\d+)\n/.exec(feed.stdout()))
  const answer = await new Promise((resolve, reject) => {
    const headers = { authorization: `Bearer ${token}` }
    const asked = get({ host: 'localhost', port, path: '/v1/consumers', ca: cert, headers, family: 4 }, (response) =>
      resolve(text(response)),
    )
    asked.on('error', reject)
  })
  expect(answer).toBe('{"consumers":[]}')
  await expect(fetch(`http://127.0.0.1:${port}/healthz`)).rejects.toThrow()
  feed.child.kill('SIGTERM')
  expect((await feed.ended).code).toBe(0)
})

test.skipIf(NO_OPENSSL)('a certificate and a key that do not belong together are refused in words', async () => {
  const [{ cert_file }, { key_file }] = await Promise.all([certificate(), certificate()])
  const refused = await plumbline(['feed', '--tls-cert', cert_file, '--tls-key', key_file], { cwd })
  expect([refused.code, refused.stderr]).toEqual([
    2,
    expect.stringMatching(/expected a certificate and its private key, got: .*key values mismatch/s),
  ])
})

describe('what would let others in is refused in words:', () => {
  test.each([
    [['--listen', '0.0.0.0:0'], /expected --tokens FILE: whoever reaches this address/],
    [['--listen', '0.0.0.0:0', '--insecure'], /expected --tokens FILE/],
    [['--listen', '0.0.0.0:0', '--tokens', 'none.json'], /expected --tls-cert and --tls-key: without TLS, everybody/],
    [['--listen', '[::]:0', '--tokens', 'none.json'], /expected --tls-cert and --tls-key/],
    [['--tls-key', 'key.pem'], /--tls-key: expected --tls-cert as well/],
    [['--tls-cert', 'none.pem', '--tls-key', 'none.pem'], /cannot read none\.pem: there is no such file/],
    [['--tls-cert', 'tokens.json', '--tls-key', 'tokens.json'], /expected a certificate and its private key, got: /],
    [['--tokens', 'none.json'], /--tokens none\.json: ENOENT/],
    [['token', 'x', '--roles', 'read'], /--tokens: expected a file, got none/],
    [['token', 'x', '--roles', 'write', '--tokens', 'new.json'], /--roles: expected read, .*, got "write"/],
    [['token', 'x', '--tokens', 'new.json'], /--roles: expected read, .*, got none/],
    [['token', 'x', '--roles', 'read', '--consumers', 'UP', '--tokens', 'new.json'], /expected the name of a consumer/],
  ])('feed %j', async (args, says) => {
    const { code, stdout, stderr } = await plumbline(['feed', ...args], { cwd })
    expect([code, stdout, stderr]).toEqual([2, '', expect.stringMatching(says)])
  })
})
