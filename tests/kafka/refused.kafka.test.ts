import { once } from 'node:events'
import { createServer } from 'node:net'
import { beforeAll, expect, test } from 'vitest'
import type { LocalBroker } from '../../infra/kafka-broker/local-broker.ts'
import { denyClient } from '../../testing/kafka-tool.ts'
import { describeWithBroker, testBroker } from '../../testing/with-broker.ts'
import { type Ended, plumbline, plumblineOk, sharedFolder } from '../cli/plumbline.ts'

/** When a broker cannot be used, the command ends with the reason and the remedy, and never waits for ever. */

const RUN = ['run', '--until-idle', '--no-sink']
const GENERATE = ['generate', 'tower', '--dataset', 'side_block', '--task', 'x_y', '--scenes', '2', '--seed', '1']

/** How long it reports having tried; on a busy machine the process itself may take longer. */
function triedFor({ stderr }: Ended): number {
  return Number(/after ([\d.]+) s of trying/.exec(stderr)?.[1] ?? 0)
}

async function refused(args: readonly string[], env: Readonly<Record<string, string>>, says: RegExp): Promise<void> {
  const ended = await plumbline(args, { cwd: await sharedFolder(), env })
  expect(ended.stderr).toMatch(says)
  expect(ended).toMatchObject({ code: 1, stdout: '' })
  expect(triedFor(ended)).toBeLessThanOrEqual(10)
}

describeWithBroker('a broker with logins, certificates and rules', () => {
  let broker: LocalBroker
  let env: Readonly<Record<string, string>>
  beforeAll(async () => {
    broker = await testBroker({ sasl: true, tls: true })
    env = broker.settings
  })

  test.each<[what: string, change: Readonly<Record<string, string>>, says: RegExp]>([
    [
      'a wrong password',
      { PLUMBLINE_KAFKA_PASSWORD: 'wrong' },
      /Check PLUMBLINE_KAFKA_USERNAME, PLUMBLINE_KAFKA_PASSWO/,
    ],
    [
      'an unknown user',
      { PLUMBLINE_KAFKA_USERNAME: 'nobody' },
      /Check PLUMBLINE_KAFKA_USERNAME, PLUMBLINE_KAFKA_PASSWO/,
    ],
    ['no login', { PLUMBLINE_KAFKA_SASL: '' }, /a listener with TLS or SASL also closes/],
    [
      'an authority that did not sign it',
      { PLUMBLINE_KAFKA_CA: '', PLUMBLINE_KAFKA_TLS: '1' },
      /PLUMBLINE_KAFKA_CA=FILE/,
    ],
    ['no TLS', { PLUMBLINE_KAFKA_CA: '' }, /a listener with TLS or SASL also closes/],
  ])('%s', async (_what, change, says) => {
    await refused(RUN, { ...env, ...change }, says)
  })

  test('a topic that may not be written, one that may not be read, and a group that may not be joined', async () => {
    const on = (prefix: string) => ({ ...env, PLUMBLINE_LOG: `${env.PLUMBLINE_LOG}/${prefix}` })
    const denied = (error: string, what: string) => new RegExp(`${what}.*${error}.*\\. Ask for the right \\(ACL\\)`)
    for (const prefix of ['write', 'read', 'group']) {
      await plumblineOk(GENERATE, { cwd: await sharedFolder(), env: on(prefix) })
    }
    await denyClient(broker, ['--operation', 'Write', '--topic', 'write.rollout.requested'])
    await denyClient(broker, ['--operation', 'Read', '--topic', 'read.rollout.requested'])
    await denyClient(broker, ['--operation', 'Read', '--group', 'group.score-completions'])
    const more = [...GENERATE.slice(0, -1), '2']
    await refused(more, on('write'), denied('TOPIC_AUTHORIZATION_FAILED', 'kafka://'))
    await refused(RUN, on('read'), denied('TOPIC_AUTHORIZATION_FAILED', 'rollout.requested'))
    await refused(RUN, on('group'), denied('GROUP_AUTHORIZATION_FAILED', 'group score-completions'))
  })
})

describeWithBroker('a broker whose certificate has expired', () => {
  test('is named as such in the error', async () => {
    const broker = await testBroker({ tls: { valid_days: -1 } })
    await refused(RUN, broker.settings, /certificate has expired: it needs a new one/)
  })
})

test('a port without a listener', async () => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  server.close()
  await once(server, 'close')
  await refused(RUN, { PLUMBLINE_LOG: `kafka://127.0.0.1:${port}` }, /ECONNREFUSED.*Nothing listens there: start the/)
})

test('three servers that accept connections and never answer', async () => {
  const silent = ['one', 'two', 'three'].map(() => createServer((socket) => socket.on('error', () => undefined)))
  try {
    for (const server of silent) await once(server.listen(0, '127.0.0.1'), 'listening')
    const seeds = silent.map((server) => `127.0.0.1:${(server.address() as { port: number }).port}`)
    const says = /did not answer within 6 s.*Check that the broker runs and can be reached/
    await refused(RUN, { PLUMBLINE_LOG: `kafka://${seeds.join()}` }, says)
  } finally {
    for (const server of silent) server.close()
  }
})

test('an unknown host name', async () => {
  const says = /No such host is known: check the address/
  await refused(RUN, { PLUMBLINE_LOG: 'kafka://no-such-host.invalid:9092' }, says)
})
