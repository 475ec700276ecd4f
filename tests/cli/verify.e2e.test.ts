import { join } from 'node:path'
import { beforeAll, expect, test } from 'vitest'
import type { LogRecord, NewRecord } from '../../infra/log/port/log.ts'
import type { Event } from '../../schemas/declare/event.ts'
import { groupFormed } from '../../schemas/events/rollout.ts'
import { completionsScored } from '../../schemas/events/tower.ts'
import { decodeEvent, encodeEvent } from '../../schemas/wire/codec.ts'
import { vocabulary } from '../../streams/vocabulary.ts'
import { plumbline, plumblineOk, sharedFolder } from './plumbline.ts'
import { copyLog, idOf, readLog, recordsOf } from './whole-log.ts'

let cwd = ''
let victim: LogRecord
beforeAll(async () => {
  cwd = await sharedFolder()
  const scenes = ['--dataset', 'side_block', '--task', 'x_y', '--scenes', '12', '--seed', '7', '--group-size', '4']
  await plumblineOk(['generate', 'tower', ...scenes], { cwd })
  await plumblineOk(['run', '--until-idle', '--policy', 'random-legal', '--no-sink'], { cwd })
  const scored = await readLog(join(cwd, 'data', 'log'), (log) => recordsOf(log, completionsScored.type))
  victim = scored[5] as LogRecord
})

/** Verifies a copy of the log in which every record went through `change`. */
async function verifyCopy(name: string, change: (record: LogRecord) => NewRecord) {
  await copyLog(join(cwd, 'data', 'log'), join(cwd, name), change)
  return plumbline(['verify', '--log', `lmdb:${name}`], { cwd })
}
const isVictim = (record: LogRecord) => record.topic === victim.topic && idOf(record) === idOf(victim)

test('verify passes on what was recorded, and on a copy of it', async () => {
  const { code, stdout, stderr } = await plumbline(['verify'], { cwd })
  expect(code, stderr).toBe(0)
  expect(stdout).toBe('verify: passed\n')
  for (const processor of ['sample-completions', 'score-completions', 'form-groups'])
    expect(stderr).toContain(`verify ${processor}: 12 events computed again, all equal to the 12 recorded`)

  const copied = await verifyCopy('untouched', (record) => record)
  expect(copied, copied.stderr).toMatchObject({ code: 0, stdout: 'verify: passed\n' })
})

test('one value changed in one derived record: verify fails and names processor, place, ce_id, field and both values', async () => {
  let recorded = 0
  const { code, stdout, stderr } = await verifyCopy('reward', (record) => {
    if (!isVictim(record)) return record
    const event = decodeEvent(record, vocabulary) as Event<typeof completionsScored>
    recorded = event.data[2]?.reward ?? Number.NaN
    const data = event.data.map((row, index) => (index === 2 ? { ...row, reward: 19.5 } : row))
    return encodeEvent(completionsScored, { ...event, data } as unknown as Event)
  })
  expect(code).toBe(1)
  expect(stdout).toBe('verify: FAILED\n')
  expect(stderr).toContain('verify score-completions: 1 DIFFERENCES; 11 of 12 computed again are equal')
  expect(stderr).toContain(
    `different at ${victim.topic} partition ${victim.partition} offset ${victim.offset}, ce_id ${idOf(victim)}`,
  )
  expect(stderr).toContain(`row 2 field reward: recorded 19.5, rebuilt ${recorded}`)
  expect(stderr).not.toContain('    at ')
})

test('verify --json reports the same as JSON', async () => {
  const { code, stdout, stderr } = await plumbline(['verify', '--json', '--log', 'lmdb:reward'], { cwd })
  expect(code).toBe(1)
  expect(stderr).toBe('')
  const { passed, reports } = JSON.parse(stdout) as { passed: boolean; reports: { processor: string }[] }
  expect(passed).toBe(false)
  const report = (name: string) => reports.find(({ processor }) => processor === name)
  expect(report('sample-completions')).toMatchObject({ differences: 0 })
  expect(report('score-completions')).toMatchObject({
    differences: 1,
    first: {
      kind: 'different',
      processor: 'score-completions',
      ce_id: idOf(victim),
      where: `${victim.topic} partition ${victim.partition} offset ${victim.offset}`,
      message: expect.stringMatching(/reward: recorded 19\.5, rebuilt /),
    },
  })
  // It reads the changed reward, so its recorded event is not the one computed from it.
  expect(report('form-groups')).toMatchObject({ differences: 1 })
})

test('a bit flipped where no value can be read any more is named too', async () => {
  const { code, stderr } = await verifyCopy('bit', (record) => {
    if (!isVictim(record) || record.value === null) return record
    return { ...record, value: record.value.slice(0, record.value.length >> 1) }
  })
  expect(code).toBe(1)
  expect(stderr).toContain(`unreadable at ${victim.topic} partition ${victim.partition} offset ${victim.offset}`)
  expect(stderr).toContain(idOf(victim))
})

test('a formed group that no processor computed is named as unexpected', async () => {
  let changed = 0
  const { code, stderr } = await verifyCopy('invented', (record) => {
    if (record.topic !== groupFormed.type || changed++ > 0) return record
    const headers = record.headers.map(({ name, value }) => ({
      name,
      value: name === 'ce_id' ? 'e'.repeat(32) : value,
    }))
    return { ...record, headers }
  })
  expect(code).toBe(1)
  expect(stderr).toMatch(/verify form-groups: 2 DIFFERENCES/)
  expect(stderr).toMatch(/first: (missing|unexpected) at /)
})
