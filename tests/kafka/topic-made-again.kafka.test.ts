import { cp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, inject, test } from 'vitest'
import { deleteTopic as deleteInKafka } from '../../infra/log/kafka/test-harness.ts'
import { deleteTopic as deleteInLmdb } from '../../infra/log/lmdb/test-harness.ts'
import { eventually, plumbline, plumblineOk, sharedFolder, sql, start } from '../cli/plumbline.ts'

const generate = (scenes: number, seed = '1') => [
  ...['generate', 'tower', '--dataset', 'side_block', '--task', 'x_y', '--group-size', '2'],
  ...['--scenes', `${scenes}`, '--seed', seed],
]
const RUN = ['run', '--until-idle']

interface Made {
  readonly place: { readonly cwd: string; readonly env: Record<string, string> }
  readonly deleteTopic: (name: string) => Promise<void>
}

const LOGS: readonly [name: string, make: () => Promise<Made>][] = [
  [
    'the embedded log',
    async () => {
      const cwd = await sharedFolder()
      const place = { cwd, env: { PLUMBLINE_DATA: cwd } }
      return { place, deleteTopic: (name) => deleteInLmdb(join(cwd, 'log'), name) }
    },
  ],
  [
    'Kafka',
    async () => {
      const cwd = await sharedFolder()
      const address = `kafka://${inject('kafka')}/again-${process.pid}-${Date.now()}`
      const place = { cwd, env: { PLUMBLINE_DATA: cwd, PLUMBLINE_LOG: address } }
      return { place, deleteTopic: (name) => deleteInKafka(address, name) }
    },
  ],
]

/** Runs the program and expects it to fail with code 1. @returns standard error */
async function refused(args: readonly string[], place: Made['place']): Promise<string> {
  const { code, stdout, stderr } = await plumbline(args, place)
  expect(code, `${args.join(' ')}: ${stdout}${stderr}`).toBe(1)
  return stderr
}

const groupsSampled = async (place: Made['place']) =>
  (await plumblineOk(['tail', 'policy.completions_sampled', '--json'], place))
    .trim()
    .split('\n')
    .map((line) => (JSON.parse(line) as { key: string }).key)

describe.each(LOGS)('on %s', (_name, make) => {
  test('a topic that was recreated with more records: a run stops, and after a reset every request is processed', {
    timeout: 300_000,
  }, async () => {
    const { place, deleteTopic } = await make()
    await plumblineOk(generate(20), place)
    await plumblineOk(RUN, place)
    for (const topic of ['tower.scene_presented', 'rollout.requested']) await deleteTopic(topic)

    await plumblineOk(generate(80, '2'), place)
    expect((await plumblineOk(['tail', 'rollout.requested', '--json'], place)).trim().split('\n')).toHaveLength(80)

    const stopped = await refused([...RUN, '--no-sink'], place)
    expect(stopped).toMatch(/rollout\.requested partition \d was read up to offset \d+, and .*deleted and made again/)
    expect(stopped).toContain('./plumbline positions reset --only')
    expect(await groupsSampled(place)).toHaveLength(20)
    const listing = await plumbline(['positions', 'list'], place)
    expect(listing.code).toBe(1)
    for (const name of ['sample-completions', 'score-completions', 'form-groups', 'duckdb'])
      expect(listing.stdout).toMatch(new RegExp(`${name} .*NOT IN THIS LOG: .*deleted and made again`))
    const lag = await plumbline(['lag'], place)
    expect(lag.code).toBe(0)
    expect(lag.stderr).toMatch(/form-groups cannot continue in this log: rollout\.requested partition/)
    expect(await refused(['verify'], place)).toMatch(/deleted and made again|read another record/)

    const reset = await plumblineOk(['positions', 'reset'], place)
    expect(reset).toMatch(
      /^sample-completions restarts at the beginning: .*\nscore-completions restarts at.*\nform-groups restarts at/,
    )
    expect(await plumblineOk(['positions', 'reset'], place)).toContain('nothing to reset')
    const with_old_tables = await refused(RUN, place)
    expect(with_old_tables).toMatch(/plumbline\.duckdb was loaded from another log than .*Delete the file/)
    const asked = await plumbline(['sql', 'select 1'], place)
    expect(asked.code).toBe(0)
    expect(asked.stderr).toContain('was loaded from another log')
    await rm(join(place.cwd, 'plumbline.duckdb'))

    await plumblineOk(RUN, place)
    // The 20 old groups are still there, and so are all 80 new ones.
    expect(new Set(await groupsSampled(place)).size).toBe(100)
    const [formed] = await sql<{ groups: number; lost: number }>(
      'select (select count(distinct group_id) from rollout.group_formed) as groups, (select lost from funnel_check) as lost',
      place,
    )
    expect([Number(formed?.groups), Number(formed?.lost)]).toEqual([100, 0])
    expect((await plumbline(['positions', 'list'], place)).code).toBe(0)
    const verified = await plumbline(['verify'], place)
    expect(verified.code, verified.stderr).toBe(0)
    expect(verified.stdout).toMatch(/^verify: passed as far as it can be computed again/)
    expect(verified.stderr).toContain('emitted before its positions were reset')
  })

  test('a topic that is recreated during a run stops it, and nothing of the new one is processed', {
    timeout: 180_000,
  }, async () => {
    const { place, deleteTopic } = await make()
    await plumblineOk(generate(5), place)
    const running = start(['run', '--no-sink'], place)
    await eventually(async () => (await groupsSampled(place)).length === 5)
    await deleteTopic('rollout.requested')
    // `generate` creates the topic again and writes 40 other requests.
    await plumblineOk(generate(40, '2'), place)
    const { code, stderr } = await running.ended
    expect(code, stderr).toBe(1)
    expect(stderr).toMatch(/rollout\.requested: .*(deleted and made again|expected a topic that exists)/)
    expect(await groupsSampled(place)).toHaveLength(5)
    expect(await refused([...RUN, '--no-sink'], place)).toMatch(/deleted and made again/)
    expect(await groupsSampled(place)).toHaveLength(5)
  })
})

test('an older copy of the embedded log put back in its place is detected by the tables', async () => {
  const cwd = await sharedFolder()
  const place = { cwd, env: { PLUMBLINE_DATA: cwd } }
  await plumblineOk(generate(5), place)
  await plumblineOk(RUN, place)
  await cp(join(cwd, 'log'), join(cwd, 'copy'), { recursive: true })
  await plumblineOk(generate(5, '2'), place)
  await plumblineOk(RUN, place)
  await rm(join(cwd, 'log'), { recursive: true })
  await cp(join(cwd, 'copy'), join(cwd, 'log'), { recursive: true })
  await plumblineOk(generate(20, '3'), place)
  expect(await refused(RUN, place)).toMatch(
    /was loaded from another log than .*(the last record that was read, at offset \d+, is another one now|it ends at)/,
  )
  expect((await plumbline(['positions', 'list'], place)).stdout).toMatch(/duckdb .*NOT IN THIS LOG/)
  await rm(join(cwd, 'plumbline.duckdb'))
  await plumblineOk(RUN, place)
  expect(await sql('select count(*)::int as n from rollout.group_formed', place)).toEqual([{ n: 50 }])
})
