import { writeFileSync } from 'node:fs'
import net from 'node:net'
import { join } from 'node:path'
import { beforeAll, expect, test } from 'vitest'
import { kafkaTool } from '../../testing/kafka-tool.ts'
import { brokerFolder, describeWithBroker, testBroker } from '../../testing/with-broker.ts'
import { brokerStatus } from './broker-status.ts'
import { type LocalBroker, startBroker, stopBroker } from './local-broker.ts'

describeWithBroker('a broker of one node', () => {
  let broker: LocalBroker
  beforeAll(async () => {
    broker = await testBroker()
  })

  test('killed with SIGKILL and restarted, it still has its records', async () => {
    const [node] = broker.nodes
    await kafkaTool(broker, 'TopicCommand', ['--create', '--topic', 'kept', '--partitions', '1'])
    await kafkaTool(broker, 'ConsoleProducer', ['--topic', 'kept'], { input: 'one\ntwo\n' })
    const before = node?.pid
    await node?.kill()
    expect(node?.pid).toBeUndefined()
    expect((await brokerStatus(broker.dir))?.nodes).toMatchObject([{ pid: undefined, answers: 'it does not run' }])
    const again = await startBroker({ dir: broker.dir })
    expect(again).toMatchObject({ started: [1], bootstrap: broker.bootstrap })
    expect(again.nodes[0]?.pid).not.toBe(before)
    const all = ['--topic', 'kept', '--from-beginning', '--max-messages', '2', '--timeout-ms', '60000']
    expect(await kafkaTool(again, 'ConsoleConsumer', all)).toBe('one\ntwo\n')
  })

  test('a start while it runs changes nothing and reports the running node', async () => {
    const { pid } = broker.nodes[0] as { pid: number }
    const again = await startBroker({ dir: broker.dir })
    expect(again.started).toEqual([])
    expect(again.nodes).toMatchObject([{ id: 1, pid }])
    expect(await brokerStatus(broker.dir)).toMatchObject({ nodes: [{ pid, answers: true }], leader: 1 })
  })

  test('a start with another number of nodes or another security is refused', async () => {
    await expect(startBroker({ dir: broker.dir, nodes: 3, sasl: true })).rejects.toThrow(
      `the broker in ${broker.dir} was made with 1 node, not 3 and no SASL`,
    )
  })

  test('a pid that another process has got meanwhile is not taken for the node', async () => {
    await broker.stop()
    writeFileSync(join(broker.dir, 'node-1', 'pid'), `${process.pid}\n`)
    expect(broker.nodes[0]?.pid).toBeUndefined()
    expect(await stopBroker(broker.dir)).toBe(0)
    expect((await brokerStatus(broker.dir))?.nodes).toMatchObject([{ answers: 'it does not run' }])
  })

  test('a port that another program uses is replaced by a free one', async () => {
    await broker.stop()
    const { port } = broker.nodes[0] as { port: number }
    const thief = net.createServer().listen(port, '127.0.0.1')
    try {
      const again = await startBroker({ dir: broker.dir })
      expect(again.nodes[0]?.port).not.toBe(port)
      expect((await brokerStatus(broker.dir))?.nodes).toMatchObject([{ answers: true }])
    } finally {
      thief.close()
    }
  })

  test('two concurrent starts in one folder create one broker', async () => {
    const dir = await brokerFolder()
    const both = await Promise.all([startBroker({ dir }), startBroker({ dir })])
    expect(both.map(({ started }) => started).sort()).toEqual([[], [1]])
    expect(both[0]?.nodes[0]?.pid).toBe(both[1]?.nodes[0]?.pid)
    expect(await stopBroker(dir)).toBe(1)
  })
})
