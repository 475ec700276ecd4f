import { beforeAll, expect, test } from 'vitest'
import { kafkaTool } from '../../testing/kafka-tool.ts'
import { describeWithBroker, testBroker } from '../../testing/with-broker.ts'
import { brokerStatus } from './broker-status.ts'
import { type LocalBroker, startBroker } from './local-broker.ts'

describeWithBroker('a cluster of three nodes', () => {
  let broker: LocalBroker
  beforeAll(async () => {
    broker = await testBroker({ nodes: 3 })
    await kafkaTool(broker, 'TopicCommand', ['--create', '--topic', 'kept', '--partitions', '3'])
  })

  const produce = (line: string) =>
    kafkaTool(broker, 'ConsoleProducer', ['--topic', 'kept'], { input: `${line}\n`, properties: { acks: 'all' } })

  const consume = async (count: number) => {
    const all = ['--topic', 'kept', '--from-beginning', '--max-messages', String(count), '--timeout-ms', '60000']
    return (await kafkaTool(broker, 'ConsoleConsumer', all)).trim().split('\n').sort()
  }

  test('every topic is replicated to all three, and two have to acknowledge', async () => {
    const described = await kafkaTool(broker, 'TopicCommand', ['--describe', '--topic', 'kept'])
    expect(described).toMatch(/PartitionCount: 3\s+ReplicationFactor: 3\s+Configs: .*min\.insync\.replicas=2/)
    expect(await brokerStatus(broker.dir)).toMatchObject({
      nodes: [{ answers: true }, { answers: true }, { answers: true }],
      leader: expect.toBeOneOf([1, 2, 3]),
    })
  })

  test('with the leader killed, the other two accept and serve records; restarted, it rejoins them', async () => {
    await produce('before')
    const leader = (await brokerStatus(broker.dir))?.leader
    const dead = broker.nodes.find(({ id }) => id === leader)
    await dead?.kill()
    await produce('meanwhile')
    expect(await consume(2)).toEqual(['before', 'meanwhile'])
    const status = await brokerStatus(broker.dir)
    expect(status?.nodes.filter(({ answers }) => answers === true).map(({ id }) => id)).toEqual(
      [1, 2, 3].filter((id) => id !== leader),
    )
    expect(status?.leader).not.toBe(leader)

    const again = await startBroker({ dir: broker.dir })
    expect(again.started).toEqual([leader])
    await produce('after')
    expect(await consume(3)).toEqual(['after', 'before', 'meanwhile'])
  })

  test('one node can be stopped and started by itself', async () => {
    const [, , last] = broker.nodes
    await last?.stop()
    expect(last?.pid).toBeUndefined()
    await last?.start()
    expect((await brokerStatus(broker.dir))?.nodes[2]).toMatchObject({ answers: true })
  })
})
