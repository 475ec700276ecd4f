import { expect } from 'vitest'
import type { NewRecord } from '../infra/log/port/log.ts'
import { openLog } from '../pipeline/data-folder.ts'
import { type Place, plumbline, plumblineOk, sql } from '../tests/cli/plumbline.ts'

/** Records in internal topics that no Plumbline program wrote, and the commands that errors name as a remedy. */

const KINDS: readonly [string, NewRecord][] = [
  ['random bytes', { key: 'k', headers: [], value: Buffer.from([0, 255, 1, 128]) }],
  [
    'JSON of another shape',
    { key: 'k', headers: [{ name: 'x', value: 'y' }], value: Buffer.from('{"hello":"world"}') },
  ],
]
const TOPICS = [
  '_journal.form-groups',
  '_changelog.form-groups',
  '_changelog.score-completions',
  '_snapshots',
  '_topology',
  'dead_letters',
]

const GENERATE = 'generate tower --dataset side_block --task x_y --scenes 3 --group-size 2 --seed'.split(' ')

/** Appends foreign records of each kind to a log, then runs the commands that errors name until everything works. */
export async function mendByCommands(place: Place, address: string): Promise<void> {
  await plumblineOk([...GENERATE, '1'], place)
  await plumblineOk(['run', '--until-idle'], place)
  await appendForeign(address)

  const typed = new Set<string>()
  const untilGood = async (args: readonly string[]) => {
    for (let tries = 0; tries < 3 * TOPICS.length * KINDS.length; tries++) {
      const ended = await plumbline(args, place)
      if (ended.code === 0) return ended
      // Skipped records are reported before the one that stops the command.
      const named = /: expected .*, found .*\. .*\.\/plumbline skip (\S+) (\d+) (\d+) makes/g
      const [, topic = '', partition = '', offset = ''] = [...ended.stderr.matchAll(named)].at(-1) ?? []
      expect(topic, ended.stderr).not.toBe('')
      expect(ended.stderr).toContain(`${topic} partition ${partition} offset ${offset}: expected `)
      expect(typed, ended.stderr).not.toContain(`${topic} ${partition} ${offset}`)
      typed.add(`${topic} ${partition} ${offset}`)
      expect(await plumblineOk(['skip', topic, partition, offset], place)).toContain('skipped from now on')
      expect(await plumblineOk(['skip', topic, partition, offset], place)).toContain('was skipped before')
    }
    throw new Error(`${args.join(' ')} still fails after ${[...typed].join(', ')}`)
  }
  await untilGood([...GENERATE, '2'])
  await untilGood(['run', '--until-idle'])
  const named = () => [...new Set([...typed].map((line) => line.split(' ')[0]))].sort()
  // Records that may be skipped stop no run, and a run reads no journal.
  expect(named()).toEqual(['_changelog.form-groups', '_changelog.score-completions', '_topology'])
  const listed = await plumbline(['dlq', 'list'], place)
  expect(listed.stderr).toMatch(/passed over: dead_letters partition \d offset \d+: expected/)
  expect(listed.stdout).toMatch(/^dead_letters\/\d\/\d+ +duckdb +unreadable/m)
  const verified = await untilGood(['verify'])
  expect(named()).toEqual([...TOPICS].sort())
  expect(verified.stderr).toContain(`${typed.size} skipped by an operator`)
  expect(verified.stderr).toMatch(/verify left out:\n(.*\n)* {2}skipped by an operator: .* offset \d+/)

  expect(await sql('select count(*)::int as n, sum(group_size)::int as rows from groups', place)).toEqual([
    { n: 6, rows: 12 },
  ])
  expect(await sql('select holds from funnel_check', place)).toEqual([{ holds: true }])
  await plumblineOk(['run', '--until-idle'], place)
  expect(await plumbline(['dlq', 'list'], place)).toMatchObject({ stdout: 'no dead letters\n', stderr: '' })
}

/** Appends to the last partition of each topic. */
async function appendForeign(address: string): Promise<void> {
  const log = await openLog(address)
  try {
    const producer = await log.producer({ transactional_id: 'a stranger' })
    const transaction = producer.begin()
    for (const topic of TOPICS) {
      const { length } = await log.endOffsets(topic)
      for (const [, record] of KINDS) transaction.append(topic, length - 1, record)
    }
    await transaction.commit()
    await producer.close()
  } finally {
    await log.close()
  }
}
