import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { describeWithBroker, testBroker } from '../../../testing/with-broker.ts'
import { append, Follower, numbered, readAll, record, text, until } from '../conformance/steps.ts'
import { CommitOutcomeUnknownError, FencedError, type Log, LogUnreachableError } from '../port/log.ts'
import { parseKafkaAddress } from './address.ts'
import { Connection } from './connection.ts'
import { openKafkaLog } from './kafka-log.ts'
import { KafkaProtocolError } from './protocol.ts'

describeWithBroker('a broker that goes down and comes back', () => {
  test('killed during transactions: each is visible whole or not at all, and work continues', async () => {
    const broker = await testBroker()
    const [node] = broker.nodes
    const open = () =>
      openKafkaLog({ address: `kafka://${broker.bootstrap}`, heartbeat_ms: 200, transaction_timeout_ms: 5_000 })
    const log = await open()
    await log.createTopics([
      { name: 'input', partitions: 1 },
      { name: 'output', partitions: 1 },
    ])
    const count = 60
    await append(log, 'input', 0, numbered(count))
    const member = await log.join({ group: 'copier', topics: ['input'], session_timeout_ms: 20_000 })
    let producer = await log.producer({ transactional_id: 'copier' })
    const seen: string[] = []
    let restarted: Promise<void> | undefined
    const start_ms = performance.now()
    // A worker's loop: after any error it continues from the committed position, with a new producer.
    while (((await log.committed('copier'))[0]?.next ?? 0n) < BigInt(count)) {
      expect(performance.now() - start_ms).toBeLessThan(150_000)
      try {
        const { records, claim, positions } = await member.poll({ max_bytes: 12, wait_ms: 200 })
        if (records.length === 0) continue
        const transaction = producer.begin()
        for (const one of records) transaction.append('output', 0, record(text(one)))
        transaction.positions(claim, positions)
        const commit = transaction.commit()
        if (records.some((one) => one.offset === 20n)) {
          restarted ??= (async () => {
            await node?.kill()
            await node?.start()
          })()
        }
        await commit
      } catch (error) {
        const known = [LogUnreachableError, CommitOutcomeUnknownError, FencedError].some(
          (kind) => error instanceof kind,
        )
        if (!known) throw error
        seen.push((error as Error).name)
        await producer.close()
        producer = await log.producer({ transactional_id: 'copier' })
        const committed = await log.committed('copier')
        const next = committed[0]?.next ?? 0n
        try {
          member.seek([{ topic: 'input', partition: 0, next }])
        } catch {
          // The partition is not owned now. When it is, it will start at the committed position.
        }
      }
    }
    await restarted
    expect(restarted, 'the broker was never killed').toBeDefined()
    expect((await readAll(log, 'output', 0)).map(text), seen.join()).toEqual(numbered(count))
    await log.close()
  }, 240_000)

  test('stopped for good: reported within seconds, with the remedy', async () => {
    const broker = await testBroker()
    await broker.stop()
    const start_ms = performance.now()
    const failure = await openKafkaLog({ address: `kafka://${broker.bootstrap}` }).catch((error: unknown) => error)
    expect(failure).toBeInstanceOf(LogUnreachableError)
    expect(String(failure)).toMatch(/ECONNREFUSED.*broker start/)
    expect(performance.now() - start_ms).toBeLessThan(15_000)
    const nowhere = await openKafkaLog({ address: 'kafka://no-such-host.invalid:9092' }).catch(
      (error: unknown) => error,
    )
    expect(String(nowhere)).toMatch(/No such host is known: check the address|ENOTFOUND|EAI_AGAIN/)
  })
})

describeWithBroker('an address at which nobody speaks', () => {
  test('it accepts connections and never answers: another one is asked before it has timed out', async () => {
    const broker = await testBroker()
    let ended = 0
    const silent = createServer((socket) => {
      socket.resume().on('error', () => {})
      socket.on('close', () => ended++)
    })
    await once(silent.listen(0, '127.0.0.1'), 'listening')
    const { port } = silent.address() as AddressInfo
    const address = parseKafkaAddress(`kafka://127.0.0.1:${port},${broker.bootstrap}`)
    const connection = new Connection(address, 'test')
    // The first call waits for the hanging broker for a moment; the second finds the other one connected.
    for (let time = 0; time < 2; time++) {
      expect((await connection.any()).brokerAddress).not.toBe(`127.0.0.1:${port}`)
      expect(ended, 'connections that were given up first').toBe(0)
    }
    await connection.close()
    silent.close()
  })
})

describeWithBroker('three nodes', () => {
  test('a node hangs and keeps its connections: the requests that waited for it go to another one', async () => {
    const broker = await testBroker({ nodes: 3 })
    const open = () => Connection.open(parseKafkaAddress(`kafka://${broker.bootstrap}`), 'test')
    const earlier = await open()
    // The first look-up makes the cluster create the groups' internal topic, which needs all nodes.
    await earlier.attempt('looking for a coordinator', () => earlier.coordinator('group', 'somebody'))
    await earlier.close()
    const connection = await open()
    // Only this broker is connected; of the others only the addresses are known.
    const { brokerAddress } = await connection.any()
    const hanging = broker.nodes.find(({ port }) => brokerAddress.endsWith(`:${port}`))
    const { pid } = hanging as { pid: number }
    process.kill(pid, 'SIGSTOP')
    try {
      const look = (group: string) =>
        connection.attempt('looking for a coordinator', () => connection.coordinator('group', group))
      // The broker may answer a few requests before the signal has reached all its threads.
      for (let group = 0; (await connection.any()).brokerAddress === brokerAddress; group++) {
        expect(group).toBeLessThan(1_000)
        await look(`group ${group}`)
      }
      await connection.forget(new KafkaProtocolError(16))
      await look('anybody')
      expect((await connection.any()).brokerAddress).not.toBe(brokerAddress)
    } finally {
      process.kill(pid, 'SIGCONT')
    }
    await connection.close()
  }, 240_000)

  test('the coordinator of a group and of a transaction dies: members and producers find the next one', async () => {
    const broker = await testBroker({ nodes: 3 })
    const log: Log = await openKafkaLog({ address: `kafka://${broker.bootstrap}`, heartbeat_ms: 200 })
    await log.createTopics([{ name: 'topic', partitions: 3 }])
    for (const p of [0, 1, 2]) await append(log, 'topic', p, numbered(5, `p${p}.`))
    const follower = await Follower.join(log, 'group', ['topic'], 20_000)
    await until([follower], () => follower.records.length === 15, '15 records')
    const producer = await log.producer({ transactional_id: 'mover' })
    const say = async (value: string) => {
      const transaction = producer.begin()
      for (const p of [0, 1, 2]) transaction.append('topic', p, record(value))
      await transaction.commit()
    }
    await say('all up')
    // Each node in turn is down for a while, so every coordinator moves.
    for (const node of broker.nodes) {
      await node.kill()
      await sleep(500)
      await say(`without ${node.id}`)
      const before = follower.records.length
      await until([follower], () => follower.records.length >= before + 3, 'what was said meanwhile')
      await follower.commit(log, follower.held)
      await node.start()
    }
    for (const p of [0, 1, 2]) {
      const expected = [...numbered(5, `p${p}.`), 'all up', ...broker.nodes.map(({ id }) => `without ${id}`)]
      expect((await readAll(log, 'topic', p)).map(text)).toEqual(expected)
    }
    expect((await log.committed('group')).length).toBe(3)
    await log.close()
  }, 400_000)
})
