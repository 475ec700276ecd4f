import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { copyFileSync, existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, onTestFinished, test } from 'vitest'
import { temporaryFolder } from '../testing/temporary-folder.ts'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const LIMIT = { timeout: 60_000 }

/** A checkout without installed packages and with a slow fake `npm`: this tests the lock, not the installation. */
async function newCheckout() {
  const dir = await temporaryFolder()
  for (const name of ['guard.mjs', 'package.json', 'package-lock.json']) copyFileSync(join(ROOT, name), join(dir, name))
  mkdirSync(join(dir, 'bin'))
  writeFileSync(join(dir, 'bin', 'npm'), '#!/bin/sh\ntouch installing\nexec sleep 60\n', { mode: 0o755 })
  const env = { ...process.env, PATH: `${join(dir, 'bin')}:${process.env.PATH}` }
  return {
    locks: () => (existsSync(join(dir, '.guard')) ? readdirSync(join(dir, '.guard')) : []),
    installs: () => expect.poll(() => existsSync(join(dir, 'installing')), { timeout: 20_000 }).toBe(true),
    leaveLock(words: string) {
      mkdirSync(join(dir, '.guard'))
      writeFileSync(join(dir, '.guard', 'node_modules.installing'), words)
    },
    start() {
      // In its own process group, as in a terminal, so that Ctrl-C reaches npm too.
      const child = spawn(process.execPath, ['guard.mjs', 'demo'], { cwd: dir, env, detached: true })
      const group = -(child.pid as number)
      let stderr = ''
      child.stderr.setEncoding('utf8').on('data', (text) => {
        stderr += text
      })
      const ended = once(child, 'close').then(([code]) => ({ code, stderr }))
      const interrupt = () => process.kill(group, 'SIGINT')
      onTestFinished(async () => {
        if (child.exitCode === null && child.signalCode === null) process.kill(group, 'SIGKILL')
        await ended
      })
      return { ended, interrupt }
    },
  }
}

test('Ctrl-C during the first installation leaves no lock that the next start would wait for', LIMIT, async () => {
  const checkout = await newCheckout()
  const first = checkout.start()
  await checkout.installs()
  expect(checkout.locks()).toEqual(['node_modules.installing'])
  first.interrupt()
  expect((await first.ended).code).not.toBe(0)
  expect(checkout.locks()).toEqual([])
})

test('the lock of a process of this host that was killed is taken over at once', LIMIT, async () => {
  const checkout = await newCheckout()
  const most = 2 ** 22
  checkout.leaveLock(`${most + 1}@${hostname()}`)
  const next = checkout.start()
  await checkout.installs()
  next.interrupt()
  expect((await next.ended).stderr).toContain('installing the packages')
})
