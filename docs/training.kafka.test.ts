import { execFile } from 'node:child_process'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, inject, test } from 'vitest'
import { describeWithBroker } from '../testing/with-broker.ts'
import { plumblineOk, sharedFolder } from '../tests/cli/plumbline.ts'

const at = (path: string) => fileURLToPath(new URL(`../${path}`, import.meta.url))

describeWithBroker('docs/training.md', () => {
  test('the trainer over Kafka of docs/training.md works, and its groups are in the ledger', async () => {
    const cwd = await sharedFolder()
    const address = `kafka://${inject('kafka')}/training-page-${process.pid}`
    const command = (...words: readonly string[]) => plumblineOk(['--log', address, ...words], { cwd })
    await command('generate', 'tower', '--dataset', 'top_block', '--task', 'x_only', '--scenes', '64', '--seed', '7')
    await command('run', '--until-idle', '--policy', 'noisy-oracle(150)')

    const page = await readFile(at('docs/training.md'), 'utf8')
    const [, body = ''] = /^```python over-kafka\.py\n([\s\S]*?)^```$/m.exec(page) ?? []
    expect(body).toContain('kafka://127.0.0.1:9092')
    await writeFile(join(cwd, 'over-kafka.py'), body.replace('kafka://127.0.0.1:9092', address))
    const env = { ...process.env, PYTHONPATH: at('python') }
    const run = async () =>
      (await promisify(execFile)(at('.venv/bin/python'), ['over-kafka.py'], { cwd, env, timeout: 120_000 })).stdout
    expect(await run()).toBe('epoch 1 ended after step 4\n')

    await command('run', '--until-idle')
    const counts = 'select matching::int as matching, durable::int as durable, lost::int as lost, step::int as step'
    const answer = await command('sql', `${counts} from consumers`, '--format', 'json')
    expect(JSON.parse(answer)).toEqual([{ matching: 64, durable: 64, lost: 0, step: 4 }])
    expect(await command('verify')).toBe('verify: passed\n')
  })
})
