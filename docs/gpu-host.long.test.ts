import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, onTestFinished, test } from 'vitest'
import { ChatServer } from '../testing/chat-server.ts'
import { wordsOf } from '../testing/page-commands.ts'
import { eventually, plumblineOk, type Running, sharedFolder, start } from '../tests/cli/plumbline.ts'

const at = (path: string) => fileURLToPath(new URL(`../${path}`, import.meta.url))
const PYTHON = at('.venv/bin/python')
const FEED = 'http://127.0.0.1:8470'
const METRICS = '127.0.0.1:9464'

const page = await readFile(at('docs/gpu-host.md'), 'utf8')
const blocks = [...page.matchAll(/^```(\w+)(?: (\S+))?\n([\s\S]*?)^```$/gm)].flatMap(([, language, name, body = '']) =>
  body.startsWith('# not tested here') ? [] : [{ language, name, body }],
)
const lines = blocks.flatMap(({ language, body }) => (language === 'sh' ? body.trim().split('\n') : []))

/** A reader of the page: its commands run as they are, but for ports that are free, and vLLM's address. */
async function reader(vllm: string) {
  const cwd = await sharedFolder()
  const env: NodeJS.ProcessEnv = { ...process.env, PYTHONPATH: at('python') }
  const running: Running[] = []
  let feed = ''
  let metrics = ''
  const begin = (words: readonly string[]) => {
    const started = start(words, { cwd })
    running.push(started)
    return started
  }
  return {
    cwd,
    running,
    save: (name: string, body: string) => writeFile(join(cwd, name), body.replaceAll(FEED, feed)),
    trainer: (words: readonly string[]) => spawn(PYTHON, words, { cwd, env, stdio: ['ignore', 'pipe', 'inherit'] }),
    durable: async () => {
      const headers = { authorization: `Bearer ${env.PLUMBLINE_FEED_TOKEN}` }
      const answer = await fetch(`${feed}/v1/consumers/lab`, { headers })
      return ((await answer.json()) as { counts: { durable: number } }).counts.durable
    },
    async type(line: string): Promise<string> {
      const [program, ...typed] = wordsOf(line)
      const words = typed.map((word) => word.replace('http://127.0.0.1:8000/v1', vllm).replace(METRICS, '127.0.0.1:0'))
      if (program === 'python') return (await promisify(execFile)(PYTHON, words, { cwd, env, timeout: 240_000 })).stdout
      if (program === 'curl') return await (await fetch(`${metrics}/healthz`)).text()
      expect(program).toBe('./plumbline')
      if (words[0] === 'feed' && words[1] === 'token') {
        env.PLUMBLINE_FEED_TOKEN = (await plumblineOk(words, { cwd })).trim()
      } else if (words[0] === 'feed') {
        const started = begin(words.map((word) => word.replace('127.0.0.1:8470', '127.0.0.1:0')).concat('--json'))
        const [said] = await eventually(() => /^\{.*\}\n/.exec(started.stdout()), 60_000)
        feed = (JSON.parse(said) as { url: string }).url
      } else if (words[0] === 'run') {
        const started = begin(words)
        const found = await eventually(
          () => /http:\/\/127\.0\.0\.1:\d+/.exec(started.stdout() + started.stderr()),
          60_000,
        )
        metrics = found[0]
      } else if (words.includes('--forever')) {
        begin(words)
      } else {
        return await plumblineOk(words, { cwd })
      }
      return ''
    },
  }
}

test('docs/gpu-host.md works as described, with a small server in the place of vLLM', {
  timeout: 500_000,
}, async () => {
  const chat = await ChatServer.start({ delay_ms: 20 })
  onTestFinished(() => chat.stop())
  const { running, save, trainer, durable, type } = await reader(chat.url)
  const printed = new Map<string, string>()
  for (const { language, name, body } of blocks) {
    if (language === 'python') await save(name as string, body)
    if (language !== 'sh') continue
    for (const line of body.trim().split('\n')) {
      // "Kill the trainer with kill -9, and start it again."
      if (line === 'python loop.py 12') {
        const before = await durable()
        const killed = trainer(['loop.py', '12'])
        await eventually(async () => (await durable()) > before, 120_000)
        killed.kill('SIGKILL')
        await once(killed, 'exit')
      }
      // The tables are loaded by the `run` that goes on.
      if (line.includes('from training.') || line.includes('funnel')) await new Promise((go) => setTimeout(go, 3_000))
      printed.set(line, await type(line))
    }
  }
  expect([...printed.keys()]).toEqual(lines)
  const said = (part: string) => [...printed].find(([line]) => line.includes(part))?.[1] ?? ''

  expect(said('loop.py 6')).toBe('epoch 1 goes on after step 0\n')
  expect(said('loop.py 12')).toMatch(/^epoch 3 goes on after step (8|10)\n$/)
  expect(said('from consumers')).toMatch(/^lab +\d+ +\d+ +0 +0 +24 +\d+ +0$/m)
  expect(said('from funnel')).toMatch(/^formed +\d+$/m)
  expect(said('group by times')).toMatch(/^ *1 +48$/m)
  expect(said('trainable')).toMatch(/^true +\d+ +\d+$/m)
  expect(said('verify')).toBe('verify: passed\n')
  expect(chat.seen[0]?.body).toMatchObject({ model: 'Qwen/Qwen3-VL-2B-Instruct', logit_bias: { 151655: -100 } })
  for (const { child, ended } of running.reverse()) {
    child.kill('SIGINT')
    await ended
  }
})
