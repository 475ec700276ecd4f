import { expect, test } from 'vitest'
import { allowClient, denyClient } from '../../../testing/kafka-tool.ts'
import { describeWithBroker, testBroker } from '../../../testing/with-broker.ts'
import { append, numbered, values } from '../conformance/steps.ts'
import { LogDeniedError, LogUnreachableError } from '../port/log.ts'
import { openKafkaLog } from './kafka-log.ts'

/** Opens a log with this environment. @returns the failure, if any, and the time it took */
async function opened(address: string, env: NodeJS.ProcessEnv): Promise<{ failure: unknown; ms: number }> {
  const start_ms = performance.now()
  try {
    const log = await openKafkaLog({ address, env })
    await log.close()
    return { failure: undefined, ms: performance.now() - start_ms }
  } catch (failure) {
    return { failure, ms: performance.now() - start_ms }
  }
}

describeWithBroker('a broker with logins and certificates', () => {
  test('PLAIN and SCRAM-SHA-512 work over TLS; wrong settings are reported with the remedy, within seconds', async () => {
    const broker = await testBroker({ sasl: true, tls: true })
    const { PLUMBLINE_LOG: address = '', ...env } = broker.settings
    for (const mechanism of ['plain', 'scram-sha-512']) {
      const log = await openKafkaLog({
        address: `${address}/${mechanism}`,
        env: { ...env, PLUMBLINE_KAFKA_SASL: mechanism },
      })
      await log.createTopics([{ name: 'topic', partitions: 1 }])
      await append(log, 'topic', 0, numbered(3))
      expect(await values(log, 'topic', 0)).toEqual(numbered(3))
      await log.close()
    }

    const wrong = await opened(address, { ...env, PLUMBLINE_KAFKA_PASSWORD: 'wrong' })
    expect(wrong.failure).toBeInstanceOf(LogDeniedError)
    expect(String(wrong.failure)).toMatch(/Check PLUMBLINE_KAFKA_USERNAME, PLUMBLINE_KAFKA_PASSWORD/)
    const stranger = await opened(address, { ...env, PLUMBLINE_KAFKA_CA: '', PLUMBLINE_KAFKA_TLS: '1' })
    expect(stranger.failure).toBeInstanceOf(LogDeniedError)
    expect(String(stranger.failure)).toMatch(/PLUMBLINE_KAFKA_CA=FILE\.pem/)
    const plain = await opened(address, { ...env, PLUMBLINE_KAFKA_CA: '' })
    expect(plain.failure).toBeInstanceOf(LogUnreachableError)
    expect(String(plain.failure)).toMatch(/a listener with TLS or SASL also closes connections/)
    for (const { ms } of [wrong, stranger, plain]) expect(ms).toBeLessThan(15_000)

    // An ACL that denies one topic.
    const log = await openKafkaLog({ address, env })
    await log.createTopics([{ name: 'closed', partitions: 1 }])
    await denyClient(broker, ['--operation', 'Write', '--topic', 'closed'])
    const denied = await append(log, 'closed', 0, ['never']).catch((error: unknown) => error)
    expect(denied).toBeInstanceOf(LogDeniedError)
    expect(String(denied)).toMatch(/TOPIC_AUTHORIZATION_FAILED.*Ask for the right \(ACL\)/)

    // One that lets this user see the settings of a topic and not change them, and then not see them.
    await log.createTopics([{ name: 'expires', partitions: 1, retention: 'may_expire' }])
    await allowClient(broker, ['--operation', 'DescribeConfigs', '--topic', 'expires'])
    const refused = await log.keepForEver?.(['expires']).catch((error: unknown) => error)
    expect(refused).toBeInstanceOf(LogDeniedError)
    expect(String(refused)).toMatch(
      /deletes records of expires by itself .*--topic expires --add-config cleanup\.policy=/,
    )
    await denyClient(broker, ['--operation', 'DescribeConfigs', '--topic', 'expires'])
    expect(await log.keepForEver?.(['expires'])).toEqual({
      changed: [],
      unknown: expect.stringMatching(/looking at the settings of topics failed/),
    })
    await log.close()
  }, 240_000)

  test('an expired certificate: the error says so', async () => {
    const broker = await testBroker({ tls: { valid_days: -1 } })
    const { PLUMBLINE_LOG: address = '', ...env } = broker.settings
    const { failure, ms } = await opened(address, env)
    expect(failure).toBeInstanceOf(LogDeniedError)
    expect(String(failure)).toMatch(/certificate has expired/)
    expect(ms).toBeLessThan(15_000)
  }, 240_000)
})
