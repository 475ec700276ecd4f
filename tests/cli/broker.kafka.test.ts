import { join } from 'node:path'
import { expect, test } from 'vitest'
import { findJava } from '../../infra/kafka-broker/java.ts'
import { brokerFolder, describeWithBroker } from '../../testing/with-broker.ts'
import { plumbline, plumblineOk } from './plumbline.ts'

describeWithBroker('plumbline broker', () => {
  test('start, status and stop, each a process of its own', async () => {
    const cwd = await brokerFolder()
    const type = (...args: string[]) => plumbline(['--data', cwd, 'broker', ...args], { cwd })

    const started = await type('start')
    expect(started.code, started.stderr).toBe(0)
    const [, address] =
      /^the broker started: (127\.0\.0\.1:\d+)\n\nexport PLUMBLINE_LOG=kafka:\/\/\1\n$/.exec(started.stdout) ?? []
    expect(address, started.stdout).toBeDefined()

    expect(await type('start')).toMatchObject({
      code: 0,
      stdout: expect.stringContaining(`the broker ran already: ${address}`),
    })
    const status = await type('status', '--json')
    expect(status.code).toBe(0)
    expect(JSON.parse(status.stdout)).toMatchObject({ nodes: [{ id: 1, address, answers: true }], leader: 1 })

    expect(await type('stop')).toMatchObject({ code: 0, stdout: 'the broker was stopped\n' })
    expect(await type('stop')).toMatchObject({ code: 0, stdout: 'no broker ran\n' })
    expect(await type('status')).toMatchObject({
      code: 1,
      stdout: expect.stringContaining(`${address}  it does not run`),
    })
  })

  test('without Maven, and nothing fetched yet, the error names what to install', async () => {
    const cwd = await brokerFolder()
    const env = { PATH: '', JAVA_HOME: join(findJava().keytool, '..', '..'), XDG_CACHE_HOME: join(cwd, 'cache') }
    const ended = await plumbline(['--data', cwd, 'broker', 'start'], { cwd, env })
    expect(ended).toMatchObject({ code: 1, stdout: '' })
    expect(ended.stderr).toMatch(/fetched with Maven: there is no mvn in PATH\n {2}install Maven .*apt install maven/)
  })

  test('what logging in needs is printed as lines for a shell', async () => {
    const cwd = await brokerFolder()
    const printed = await plumblineOk(['--data', cwd, 'broker', 'start', '--sasl', '--tls'], { cwd })
    const lines = printed.trim().split('\n').slice(2)
    expect(lines).toEqual([
      expect.stringMatching(/^export PLUMBLINE_LOG=kafka:\/\/127\.0\.0\.1:\d+$/),
      'export PLUMBLINE_KAFKA_SASL=scram-sha-512',
      'export PLUMBLINE_KAFKA_USERNAME=plumbline',
      expect.stringMatching(/^export PLUMBLINE_KAFKA_PASSWORD=[\w-]{24}$/),
      `export PLUMBLINE_KAFKA_CA=${join(cwd, 'kafka', 'tls', 'ca.pem')}`,
    ])
  })
})
