import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { wordsOf } from '../testing/page-commands.ts'
import { eventually, plumblineOk, type Running, sharedFolder, sql, start } from '../tests/cli/plumbline.ts'

const at = (path: string) => fileURLToPath(new URL(`../${path}`, import.meta.url))
const PYTHON = at('.venv/bin/python')
const ADDRESS = 'http://127.0.0.1:8470'

const page = await readFile(at('docs/training.md'), 'utf8')
/** Those with torch are run by training.trl.test.ts. */
const with_torch = /^(torch|trl)-/
const blocks = [...page.matchAll(/^```(\w+)(?: (\S+))?\n([\s\S]*?)^```$/gm)].map(([, language, name, body = '']) => {
  return { language, name, body }
})

/** A reader of the page: a folder, in which the feed runs once the page has started it. */
async function reader() {
  const cwd = await sharedFolder()
  const env: NodeJS.ProcessEnv = { ...process.env, PYTHONPATH: at('python') }
  let url = ''
  let feed: Running | undefined
  return {
    cwd,
    async type(line: string): Promise<string> {
      const [program, ...words] = wordsOf(line)
      expect(program).toBe('./plumbline')
      if (words[1] === 'token') {
        env.PLUMBLINE_FEED_TOKEN = (await plumblineOk(words, { cwd })).trim()
        return ''
      }
      if (words[0] !== 'feed') return plumblineOk(words, { cwd })
      feed?.child.kill('SIGTERM')
      await feed?.ended
      const [, , , ...more] = words
      const started = start(['feed', '--listen', '127.0.0.1:0', '--json', ...more], { cwd })
      feed = started
      const [said] = await eventually(() => /^\{.*\}\n/.exec(started.stdout()), 60_000)
      url = (JSON.parse(said) as { url: string }).url
      return said
    },
    /** Saves a script; its address becomes that of this feed. */
    save: (name: string, body: string) => writeFile(join(cwd, name), body.replaceAll(ADDRESS, url)),
    run: async (name: string) => (await promisify(execFile)(PYTHON, [name], { cwd, env, timeout: 120_000 })).stdout,
    spawn: (name: string) => spawn(PYTHON, [name], { cwd, env, stdio: 'ignore' }),
    async consumer(name: string) {
      const headers = { authorization: `Bearer ${env.PLUMBLINE_FEED_TOKEN}` }
      const answer = await fetch(`${url}/v1/consumers/${name}`, { headers })
      return (await answer.json()) as { counts: Record<string, number>; checkpoints: { checkpoint: string }[] }
    },
  }
}

const bodyOf = (name: string) => blocks.find((block) => block.name === name)?.body ?? ''
/** Those that make groups: of the first section, and of the one on dynamic sampling. */
const [groupsFormed = [], withoutVariance = []] = blocks.flatMap(({ language, body }) =>
  language === 'sh' && body.includes('generate') ? [body.trim().split('\n')] : [],
)

test('docs/training.md works as described', { timeout: 300_000 }, async () => {
  const { cwd, type, save, run, consumer } = await reader()
  const printed = new Map<string, string>()
  for (const { language, name, body } of blocks) {
    if (language === 'sh' && !body.startsWith('pip ')) {
      for (const line of body.trim().split('\n')) printed.set(line, await type(line))
    }
    // `training.kafka.test.ts` runs those that need a broker, `training.trl.test.ts` those with torch.
    if (name === undefined || body.includes('kafka://') || with_torch.test(name)) continue
    await save(name, body)
    printed.set(name, await run(name))
  }
  expect([...printed.keys()].filter((name) => name.endsWith('.py'))).toHaveLength(8)

  const first = (printed.get('first.py') ?? '').trim().split('\n')
  expect(first).toHaveLength(11)
  expect(first[0]).toMatch(/^0 x_only -?\d+\.\d\d <answer>/)
  expect(first[10]).toMatch(/^step-00000001-\w{12}$/)
  const [receipt = '', durable = '', counted = ''] = [...printed].flatMap(([line, text]) =>
    line.includes(' sql ') ? [text] : [],
  )
  expect(receipt).toMatch(/^r1 +1 +0 +10 +\d/m)
  expect(durable).toMatch(new RegExp(`^ +0 +\\w{32} +durable +1 +${first[10]}$`, 'm'))
  expect(counted).toMatch(/^lab +64 +54 +0 +0 +10 +0 +0$/m)

  // 54 groups were left: three steps of 16, two checkpoints.
  expect(printed.get('train.py')).toMatch(/^epoch 2 goes on after step 1 with a mean of -?\d/)
  expect((await consumer('lab')).counts).toMatchObject({ durable: 58, applied: 0, leased: 0, dropped: 0 })
  // The feed has another address since it has tokens.
  await save('train.py', bodyOf('train.py'))
  expect(await run('train.py')).toMatch(/^epoch 4 goes on after step 4 with/)

  expect(printed.get('group.py')).toContain('completion_index: int32')
  expect(printed.get('tokens.py')).toMatch(/^group 0 .*its token_ids are null/)
  expect((await consumer('tokens')).counts).toMatchObject({ dropped: 1, leased: 0 })
  expect((await consumer('chooser')).counts).toMatchObject({ dropped: 1, leased: 0 })

  // The last step of `train.py`; its run has resumed once since.
  expect(printed.get('publish.py')).toBe('lab/r1@4\n')
  expect(printed.get('ask.py')).toMatch(
    /^\['model_id', 'version', 'step'\] \[\{'model_id': 'lab\/r1@4', 'version': 4, 'step': 4\}\]$/m,
  )

  const dynamic = (printed.get('dynamic.py') ?? '').trim().split('\n')
  // 80 groups: 64 that vary, less a rest that is no whole step.
  expect(dynamic.length).toBeGreaterThan(10)
  expect(dynamic[0]).toMatch(/^1 \[(\d+, ){3,5}\d+\]$/)
  expect((await consumer('dapo')).counts).toMatchObject({ dropped: 16, leased: 0 })

  await plumblineOk(['run', '--until-idle'], { cwd })
  const [chosen] = await sql("select groups, loss, tokens from training.step_completed where consumer = 'chooser'", {
    cwd,
  })
  expect(chosen).toMatchObject({ loss: 0.25, tokens: expect.anything() })
})

test('a trainer with dynamic sampling that is killed has the steps of one that was left alone', {
  timeout: 400_000,
}, async () => {
  const { cwd, type, save, run, spawn, consumer } = await reader()
  for (const line of [...groupsFormed.slice(0, 2), ...withoutVariance, ...groupsFormed.slice(2)]) await type(line)
  // Short windows, so that steps are short of groups: where one begins must not depend on what was dropped before.
  const script = bodyOf('dynamic.py').replace('steps(6', 'steps(4').replace('most_draws=7', 'most_draws=5')
  const alone = script.replace('consumer="dapo"', 'consumer="alone"').replaceAll('dynamic-', 'alone-')
  await save('alone.py', alone.replace('step.number % 2 == 0', 'True'))
  const steps = await run('alone.py')
  expect(steps).toMatch(/^\d+ \[\d+(, \d+){0,2}\]$/m)

  await save('dynamic.py', `import time\n${script.replace(/^( +)step\.applied/m, '$1time.sleep(0.1)\n$&')}`)
  const durable = async () => (await consumer('dapo')).counts.durable ?? 0
  for (let kill = 0; kill < 4; kill++) {
    const before = kill === 0 ? 0 : await durable()
    const trainer = spawn('dynamic.py')
    await eventually(async () => (await durable().catch(() => 0)) > before + 4, 60_000)
    trainer.kill('SIGKILL')
    await once(trainer, 'exit')
  }
  const last = (await run('dynamic.py')).trim().split('\n')
  expect(steps.trim().split('\n').slice(-last.length)).toEqual(last)
  expect((await consumer('dapo')).counts.dropped).toBe((await consumer('alone')).counts.dropped)

  await plumblineOk(['run', '--until-idle'], { cwd })
  // Every step that both checkpoints contain has the same groups, under the same numbers.
  const differing = await sql(
    `with step_of as (
       select consumer, step, list(sequence order by sequence) as groups
       from ledger where state = 'durable' group by consumer, step)
     select one.step from step_of one join step_of other using (step)
     where one.consumer = 'alone' and other.consumer = 'dapo' and one.groups <> other.groups`,
    { cwd },
  )
  expect(differing).toEqual([])
})

test('a trainer that is killed four times has every group once in the checkpoints of its run', {
  timeout: 300_000,
}, async () => {
  const { cwd, type, save, run, spawn, consumer } = await reader()
  for (const line of groupsFormed) await type(line)
  const slow = bodyOf('train.py')
    .replace('steps(16)', 'steps(2)')
    .replace(/^( +)step\.applied/m, '$1time.sleep(0.1)\n$&')
  await save('train.py', `import time\n${slow}`)
  const durable = async () => (await consumer('lab')).counts.durable ?? 0
  for (let kill = 0; kill < 4; kill++) {
    const before = kill === 0 ? 0 : await durable()
    const trainer = spawn('train.py')
    await eventually(async () => (await durable().catch(() => 0)) > before + 4, 60_000)
    trainer.kill('SIGKILL')
    await once(trainer, 'exit')
  }
  expect(await run('train.py')).toMatch(/^epoch 5 goes on after step \d+ /)

  const { counts, checkpoints } = await consumer('lab')
  expect(counts).toMatchObject({ durable: 64, applied: 0, leased: 0, dropped: 0 })
  await plumblineOk(['run', '--until-idle'], { cwd })
  const [found] = await sql<{ sequences: number; rows: number; last: string }>(
    `select count(distinct sequence)::int as sequences, count(*)::int as rows, arg_max(checkpoint, number) as last
     from training.checkpoint_saved`,
    { cwd },
  )
  expect(found).toEqual({ sequences: 64, rows: 64, last: checkpoints.at(-1)?.checkpoint })
})
