import { expect, inject, test } from 'vitest'
import { openDataFolder } from '../../pipeline/data-folder.ts'
import { plumbline, plumblineOk, sharedFolder } from '../cli/plumbline.ts'

const generate = (seed: string) =>
  ['generate', 'tower', '--dataset', 'side_block', '--task', 'x_y', '--scenes', '10', '--seed', seed] as const

test.each([
  ['the embedded log', () => undefined],
  ['Kafka', () => `kafka://${inject('kafka')}/gone-${process.pid}`],
])(
  'on %s, requests that retention removed before they were read stop a run, or are skipped and named',
  async (_log, address) => {
    const cwd = await sharedFolder()
    const log = address()
    const place = { cwd, env: { PLUMBLINE_DATA: cwd, ...(log === undefined ? {} : { PLUMBLINE_LOG: log }) } }
    const run = (...more: string[]) => plumbline(['run', '--until-idle', '--no-sink', ...more], place)
    await plumblineOk(generate('1'), place)
    await run()
    await plumblineOk(generate('2'), place)
    const folder = await openDataFolder({ data: cwd, ...(log === undefined ? {} : { log }) }, { create: false })
    for (const [partition, end] of (await folder.log.endOffsets('rollout.requested')).entries())
      await folder.log.deleteBefore('rollout.requested', partition, end)
    await folder.close()

    const stopped = await run()
    expect(stopped.code).toBe(1)
    expect(stopped.stderr).toMatch(/rollout\.requested partition \d: offset \d+ was removed by retention/)
    expect(stopped.stderr).toContain('run --when-gone earliest')

    const skipped = await run('--when-gone', 'earliest')
    expect(skipped.code, skipped.stderr).toBe(0)
    for (const name of ['sample-completions', 'score-completions', 'form-groups'])
      expect(skipped.stderr).toMatch(new RegExp(`${name}: retention removed rollout\\.requested partition \\d from`))
    const again = await run()
    expect(again.code, again.stderr).toBe(0)

    // Later requests are processed as usual, and verify reports what it cannot verify.
    await plumblineOk(generate('3'), place)
    expect((await run()).code).toBe(0)
    const verified = await plumbline(['verify'], place)
    expect(verified.code, verified.stderr).toBe(0)
    expect(verified.stdout).toBe(
      'verify: passed as far as it can be computed again; unverifiable: sample-completions, score-completions, form-groups\n',
    )
    expect(verified.stderr).toMatch(
      /unverifiable: cause expired: retention removed rollout\.requested partition \d below/,
    )
  },
)
