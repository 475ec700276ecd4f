import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
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

describe('what would let others in is refused in words:', () => {
  test.each([
    [['--listen', '0.0.0.0:0'], /expected --tokens FILE: whoever reaches this address/],
    [['--listen', '0.0.0.0:0', '--insecure'], /expected --tokens FILE/],
    [['--listen', '0.0.0.0:0', '--tokens', 'none.json'], /expected --insecure: without TLS, everybody on the way/],
    [['--listen', '[::]:0', '--tokens', 'none.json'], /expected --insecure/],
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
