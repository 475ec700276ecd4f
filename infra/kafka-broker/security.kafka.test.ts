import { readFileSync } from 'node:fs'
import { rootCertificates } from 'node:tls'
import { beforeAll, expect, test } from 'vitest'
import { denyClient, javaProperties, kafkaTool } from '../../testing/kafka-tool.ts'
import { describeWithBroker, testBroker } from '../../testing/with-broker.ts'
import { certificateFile } from './client-settings.ts'
import type { User } from './cluster.ts'
import { type LocalBroker, startBroker } from './local-broker.ts'
import { askNode } from './wire.ts'

describeWithBroker('a broker with SASL and TLS', () => {
  let broker: LocalBroker
  let client: User
  let ca = ''
  let port = 0
  beforeAll(async () => {
    broker = await testBroker({ sasl: true, tls: true })
    const { PLUMBLINE_KAFKA_USERNAME: name = '', PLUMBLINE_KAFKA_PASSWORD: password = '' } = broker.settings
    client = { name, password }
    ca = readFileSync(broker.settings.PLUMBLINE_KAFKA_CA as string, 'utf8')
    port = broker.nodes[0]?.port ?? 0
  })

  test.each(['PLAIN', 'SCRAM-SHA-512'] as const)('%s lets the right password in, and no other', async (mechanism) => {
    const topics = (user: User) =>
      kafkaTool(broker, 'TopicCommand', ['--list'], { properties: javaProperties(broker, mechanism, user) })
    await topics(client)
    await expect(topics({ ...client, password: 'wrong' })).rejects.toThrow(
      /SaslAuthenticationException.*[Aa]uthentication failed/,
    )
  })

  test('a client that does not log in, or not over TLS, gets no answer', async () => {
    expect((await askNode({ port, ca, user: client }, 10_000)).nodes).toEqual([{ id: 1, port }])
    await expect(askNode({ port, ca }, 10_000)).rejects.toThrow(/closed|ECONNRESET/)
    await expect(askNode({ port, user: client }, 10_000)).rejects.toThrow(/closed|ECONNRESET/)
    const SASL_AUTHENTICATION_FAILED = 58
    await expect(askNode({ port, ca, user: { ...client, password: '' } }, 10_000)).rejects.toThrow(
      `Kafka error code ${SASL_AUTHENTICATION_FAILED}`,
    )
  })

  test('its certificate is signed by its own authority alone', async () => {
    await expect(askNode({ port, ca: rootCertificates[0], user: client }, 10_000)).rejects.toThrow(
      /unable to (get local issuer|verify the first) certificate|self-signed/,
    )
  })

  test('a rule that the super user adds denies a topic', async () => {
    const as = (user: User) => ({ properties: javaProperties(broker, 'SCRAM-SHA-512', user) })
    await kafkaTool(broker, 'TopicCommand', ['--create', '--topic', 'secret', '--partitions', '1'], as(client))
    const produce = () =>
      kafkaTool(broker, 'ConsoleProducer', ['--topic', 'secret', '--sync'], { ...as(client), input: 'x\n' })
    await produce()
    await denyClient(broker, ['--operation', 'Write', '--topic', 'secret'])
    await expect(produce()).rejects.toThrow(/TopicAuthorizationException/)
  })

  test('users and trusted certificates are the same after a restart', async () => {
    await broker.stop()
    const again = await startBroker({ dir: broker.dir })
    expect(again.settings).toEqual(broker.settings)
    expect((await askNode({ port, ca, user: client }, 10_000)).nodes).toHaveLength(1)
  })
})

describeWithBroker('a broker whose certificate has expired', () => {
  test('it runs, and clients that check the certificate reject it', async () => {
    const broker = await testBroker({ tls: { valid_days: -1 } })
    const ca = readFileSync(certificateFile(broker.dir), 'utf8')
    const port = broker.nodes[0]?.port ?? 0
    await expect(askNode({ port, ca }, 10_000)).rejects.toThrow('certificate has expired')
    expect((await askNode({ port, ca: 'any' }, 10_000)).nodes).toEqual([{ id: 1, port }])
  })
})
