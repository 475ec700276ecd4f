import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { beforeAll, expect, test } from 'vitest'
import { plumbline, sharedFolder } from './plumbline.ts'

/** How `broker` reports that it cannot run here; needs neither Java nor Maven. */

let cwd = ''
beforeAll(async () => {
  cwd = await sharedFolder()
})

test('without Java the error names what to install', async () => {
  const ended = await plumbline(['broker', 'start'], { cwd, env: { PATH: '', JAVA_HOME: '' } })
  expect(ended).toMatchObject({ code: 1, stdout: '' })
  expect(ended.stderr).toMatch(
    /^plumbline: Apache Kafka needs Java 17 or newer: there is no java in PATH or JAVA_HOME\n {2}install Java 17 .*apt install openjdk/,
  )
})

test('a Java that is too old is named with its version', async () => {
  const bin = join(cwd, 'old', 'bin')
  await mkdir(bin, { recursive: true })
  const says = 'echo "    java.runtime.version = 11.0.2+9" >&2'
  await writeFile(join(bin, 'java'), `#!/bin/sh\n${says}\n`, { mode: 0o755 })
  const ended = await plumbline(['broker', 'start'], { cwd, env: { PATH: '', JAVA_HOME: join(cwd, 'old') } })
  expect(ended.code).toBe(1)
  expect(ended.stderr).toContain(`Apache Kafka needs Java 17 or newer: ${join(bin, 'java')} is 11.0.2+9\n`)
})

test.each([
  [['--nodes', '2'], /--nodes 2: expected 1 or 3\n {2}two nodes would stop when either of them does/],
  [['--heap', 'much'], /--heap much: expected a number of megabytes or gigabytes\n {2}e\.g\. --heap 512m/],
])('typed wrong: broker start %j', async (options, says) => {
  const ended = await plumbline(['broker', 'start', ...options], { cwd })
  expect(ended).toMatchObject({ code: 2, stdout: '', stderr: expect.stringMatching(says) })
})

test('without a broker, status tells how to create one and stop has nothing to do', async () => {
  await plumbline(['run', '--until-idle', '--no-sink'], { cwd })
  const status = await plumbline(['broker', 'status'], { cwd })
  expect(status).toMatchObject({ code: 1, stdout: expect.stringContaining('./plumbline broker start') })
  expect(await plumbline(['broker', 'stop'], { cwd })).toMatchObject({ code: 0, stdout: 'no broker ran\n' })
})
