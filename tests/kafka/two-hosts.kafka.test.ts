import { afterAll, expect, inject, test } from 'vitest'
import { openKafkaLog } from '../../infra/log/kafka/kafka-log.ts'
import type { Log } from '../../infra/log/port/log.ts'
import { recordsOf } from '../../testing/counting.ts'
import { parseOpenMetrics } from '../../testing/open-metrics.ts'
import { describeWithBroker } from '../../testing/with-broker.ts'
import {
  eventually,
  funnel,
  type Place,
  plumblineOk,
  type Running,
  sharedFolder,
  sql,
  start,
} from '../cli/plumbline.ts'
import { Host, whyNoHosts } from './hosts.ts'

const GROUP_SIZE = 4
const PATIENCE_MS = 120_000

const no_hosts = whyNoHosts()
const skipped = no_hosts === undefined ? '' : ` (skipped: ${no_hosts})`
const hosts: Host[] = []
const logs: Log[] = []
afterAll(async () => {
  for (const log of logs) await log.close()
  for (const host of hosts) await host.remove()
})

describeWithBroker('two hosts that share a broker and no file', () => {
  test('share the partitions; when one is killed, the other takes over with its state, and nothing is lost or duplicated', {
    timeout: 400_000,
  }, async () => {
    const one = await pipeline('killed')
    const [a, b] = [await one.run('a'), await one.run('b')]
    await one.generate(60)
    await one.formed()
    await bothWork(one, [a, b])
    a.child.kill('SIGKILL')
    await a.ended
    await one.generate(60)
    await one.formed()
    await one.stop(b)
    await one.accounts()
  })

  test.skipIf(no_hosts !== undefined)(
    `in separate network namespaces: one that is cut off for longer than a session is replaced, and continues when it is reconnected${skipped}`,
    { timeout: 400_000 },
    async () => {
      const one = await pipeline('cut')
      for (const number of [1, 2]) hosts.push(await Host.make(number, one.ports))
      const [near, far] = hosts as [Host, Host]
      const [a, b] = [await one.run('a', near), await one.run('b', far)]
      await one.generate(60)
      await one.formed()
      await bothWork(one, [a, b], [near, far])
      near.cut()
      await one.generate(60)
      await one.formed()
      near.mend()
      const before = records(near.get(one.metrics(a)))
      await eventually(async () => {
        expect(a.child.exitCode, a.stderr()).toBeNull()
        await one.more()
        return records(near.get(one.metrics(a))) > before
      }, PATIENCE_MS)
      await one.formed()
      for (const running of [a, b]) await one.stop(running)
      await one.accounts()
    },
  )
})

/** A log on the shared broker, a blob server, and a folder for each host. */
async function pipeline(name: string) {
  const cwd = await sharedFolder()
  const bootstrap = inject('kafka')
  const log = await openKafkaLog({ address: `kafka://${bootstrap}/${name}-${process.pid}` })
  logs.push(log)
  const served = start(['--data', 'served', 'blobs', 'serve', '--listen', '127.0.0.1:0'], { cwd })
  const [, token = '', url = ''] = await eventually(() => /TOKEN=(\S+)\n.*at (http:\S+)\n/.exec(served.stdout()))
  const env = { PLUMBLINE_BLOBS_TOKEN: token }
  let generated = 0
  let seeds = 0
  const at = (data: string) => ['--data', data, '--log', log.address, '--blobs', url]
  const place = (data: string): Place => ({
    cwd,
    env: { ...env, PLUMBLINE_DATA: data, PLUMBLINE_LOG: log.address, PLUMBLINE_BLOBS: url },
  })
  return {
    ports: [Number(bootstrap.split(':')[1]), Number(new URL(url).port)],
    /** Starts a run and waits until it reports the address of its metrics. */
    async run(host: string, there?: Host): Promise<Running> {
      const run = ['run', '--no-sink', '--policy', 'random-legal', '--metrics', '127.0.0.1:0']
      const running = start([...at(host), ...run], {
        cwd,
        env,
        ...(there === undefined ? {} : { within: there.within }),
      })
      await eventually(() => running.child.exitCode !== null || /metrics at/.test(running.stderr()), PATIENCE_MS)
      expect(running.child.exitCode, running.stderr()).toBeNull()
      return running
    },
    metrics: (running: Running) => /metrics at (http:\S+)/.exec(running.stderr())?.[1] ?? '',
    async generate(scenes: number): Promise<void> {
      const seed = ++seeds
      const tower = ['generate', 'tower', '--dataset', 'side_block', '--task', 'x_y', '--scenes', String(scenes)]
      const how = ['--seed', String(seed), '--group-size', String(GROUP_SIZE)]
      await plumblineOk([...at('source'), ...tower, ...how], { cwd, env })
      generated += scenes
    },
    /** Generates a few more scenes. */
    async more(): Promise<void> {
      await this.generate(20)
    },
    /** Waits until all requested groups are formed. */
    async formed(): Promise<void> {
      await eventually(async () => {
        const topics = await log.topics()
        if (!topics.some(({ name }) => name === 'rollout.group_formed')) return false
        return (await recordsOf(log, 'rollout.group_formed')).length >= generated
      }, PATIENCE_MS)
    },
    async stop(running: Running): Promise<void> {
      running.child.kill('SIGTERM')
      expect(await running.ended, running.stderr()).toMatchObject({ code: 0 })
    },
    /** Checks the results on a third host, which took no part. */
    async accounts(): Promise<void> {
      const groups = generated
      const third = place('third')
      await plumblineOk(['run', '--until-idle', '--policy', 'random-legal'], third)
      expect(await funnel(third)).toEqual({ formed: groups * GROUP_SIZE })
      const [counted] = await sql<{ rows: number; once: number }>(
        'select count(*)::int as rows, count(distinct (group_id, completion_index))::int as once from rewards',
        third,
      )
      expect(counted).toEqual({ rows: groups * GROUP_SIZE, once: groups * GROUP_SIZE })
      for (const type of ['policy.completions_sampled', 'tower.completions_scored', 'rollout.group_formed']) {
        expect(await recordsOf(log, type), type).toHaveLength(groups)
      }
      expect(await plumblineOk(['verify'], third)).toContain('verify: passed')
    },
  }
}

type Pipeline = Awaited<ReturnType<typeof pipeline>>

/** Input records that a process's score-completions stage has processed and committed. */
function records(metrics: string): number {
  return parseOpenMetrics(metrics)
    .filter(({ name, labels }) => name === 'plumbline_records_total' && labels.stage === 'score-completions')
    .reduce((sum, { value }) => sum + value, 0)
}

/** Generates more scenes until every process has processed something. */
async function bothWork(one: Pipeline, both: readonly Running[], where: readonly Host[] = []): Promise<void> {
  await eventually(async () => {
    for (const [at, running] of both.entries()) {
      const url = one.metrics(running)
      const metrics = where[at]?.get(url) ?? (await (await fetch(url)).text())
      if (records(metrics) > 0) continue
      await one.more()
      return false
    }
    return true
  }, PATIENCE_MS)
}
