import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { answer, type ChatBody, ChatServer } from '../../testing/chat-server.ts'
import { server } from '../../testing/policy-stage.ts'
import { temporaryFolder } from '../../testing/temporary-folder.ts'
import { tinyAdapter } from '../../testing/tiny-adapter.ts'
import { plumbline, plumblineOk, sharedFolder } from './plumbline.ts'

/** The words of a shell command: quotes of both kinds, no expansion. */
const wordsOf = (line: string) =>
  [...line.matchAll(/'([^']*)'|"([^"]*)"|(\S+)/g)].map(([, single, double, bare]) => single ?? double ?? bare ?? '')

test('every command of docs/http-policies.md runs, against a server on this machine', {
  timeout: 180_000,
}, async () => {
  const page = await readFile(fileURLToPath(new URL('../../docs/http-policies.md', import.meta.url)), 'utf8')
  const [first = '', second = ''] = [...page.matchAll(/```sh\n([\s\S]*?)```/g)].map(([, block]) => block)
  const commands = (block: string) =>
    block.split('\n').flatMap((line) => (line.startsWith('./plumbline ') ? [wordsOf(line).slice(1)] : []))
  const chat = await ChatServer.start()
  const here = (words: readonly string[]) =>
    words.map((word) => word.replace(/http:\/\/127\.0\.0\.1:8000\/v1|https:\/\/api\.example\.com\/v1/, chat.url))
  const place = { cwd: await sharedFolder() }
  try {
    const printed: string[] = []
    for (const words of commands(first)) printed.push(await plumblineOk(here(words), place))
    expect(printed).toHaveLength(5)
    expect(printed[2]).toMatch(/MODEL\s.*true\s.*80/)
    expect(printed[3]).toMatch(/formed\s.*80/)
    expect(printed[4]).toBe('verify: passed\n')
    expect(chat.seen).toHaveLength(20)
    expect(chat.seen[0]?.body).toMatchObject({ model: 'MODEL', n: 4, temperature: 1, max_tokens: 512 })
    expect(chat.seen[0]?.headers.authorization).toBe(undefined)

    const tower = ['--dataset', 'side_block', '--task', 'x_y', '--seed', '8', '--group-size', '4']
    await plumblineOk(['generate', 'tower', ...tower, '--scenes', '2'], place)
    const [hosted = []] = commands(second)
    const keyed = await plumbline(here(hosted), { ...place, env: { PLUMBLINE_API_KEY: 'sk-test-1' } })
    expect(keyed, keyed.stderr).toMatchObject({ code: 0 })
    expect(keyed.stdout + keyed.stderr).not.toContain('sk-test-1')
    expect(chat.seen.at(-1)?.headers.authorization).toBe('Bearer sk-test-1')
    expect(chat.seen).toHaveLength(22)

    // A scripted policy that runs next answers only new requests. verify recomputes its answers, not those over HTTP.
    await plumblineOk(['generate', 'tower', ...tower.with(5, '9'), '--scenes', '2'], place)
    await plumblineOk(['run', '--until-idle', '--policy', 'random-legal'], place)
    const fates = await plumblineOk(
      ['sql', 'select fate, completions from funnel where completions > 0', '--json'],
      place,
    )
    expect(fates).toContain('96')
    expect(fates).not.toMatch(/mixed|late|duplicate/)
    expect(await plumblineOk(['verify'], place)).toBe('verify: passed\n')
    expect(chat.seen).toHaveLength(22)
  } finally {
    await chat.stop()
  }
})

test('a completion with a token that no trainer takes is rejected, and a rebuild rejects the same', {
  timeout: 120_000,
}, async () => {
  // It takes no biases; the first choice of its answers has the token 10.
  const refuses = ({ logit_bias }: ChatBody) => (logit_bias ? 'Unsupported parameter: logit_bias' : undefined)
  const chat = await ChatServer.start({ refuses })
  const place = { cwd: await sharedFolder() }
  try {
    const tower = ['--dataset', 'side_block', '--task', 'x_y', '--seed', '8', '--group-size', '4', '--scenes', '3']
    await plumblineOk(['generate', 'tower', ...tower], place)
    const policy = `openai(${chat.url}, MODEL, {"unsupported_tokens": [10, 99]})`
    await plumblineOk(['run', '--until-idle', '--policy', policy], place)
    const fates = 'select fate, completions::int as n from funnel where completions > 0 order by fate'
    const found = [
      // Until the deadline of their groups.
      { fate: 'pending_held', n: 9 },
      { fate: 'unsupported_token', n: 3 },
    ]
    expect(JSON.parse(await plumblineOk(['sql', fates, '--format', 'json'], place))).toEqual(found)
    const why = 'select distinct completion_index, detail from rollout.completion_rejected'
    expect(await plumblineOk(['sql', why], place)).toContain('token 10 is one that the policy lists as unsupported')
    expect(await plumblineOk(['verify'], place)).toBe('verify: passed\n')
  } finally {
    await chat.stop()
  }
})

test('adapters of a lineage, one after the other, and then another policy on the same log', {
  timeout: 240_000,
}, async () => {
  const chat = await server({ adapters: true })
  const [cwd, adapters] = [await sharedFolder(), await temporaryFolder()]
  const place = { cwd }
  const tower = ['generate', 'tower', '--dataset', 'side_block', '--task', 'x_y', '--group-size', '4', '--scenes', '3']
  const run = ['run', '--until-idle', '--policy', `openai(${chat.url}, lineage:lab)`, '--adapters', adapters]
  for (const version of [0, 1, 2]) {
    const adapter = tinyAdapter(version, 'tiny')
    const files = { 'adapter_model.safetensors': adapter.weights, 'adapter_config.json': adapter.config }
    const folder = await temporaryFolder()
    for (const [name, bytes] of Object.entries(files)) await writeFile(join(folder, name), bytes)
    const paths = Object.keys(files).map((name) => join(folder, name))
    await plumblineOk(['models', 'add', ...paths, '--lineage', 'lab', '--base', 'tiny'], place)
    // The last one is refused by the server: the one before goes on.
    if (version === 2) chat.load_faults.push((response) => answer(response, 400, { detail: 'the rank is too high' }))
    await plumblineOk([...run, '--only', 'activate-models'], place)
    await plumblineOk([...tower, '--seed', `${version}`], place)
    await plumblineOk(run, place)
  }
  const sql = (query: string) => plumblineOk(['sql', query, '--json'], place)
  const versions = 'select token_policy_version as v, lineage, count(*)::int as n from policy.completions_sampled'
  expect(JSON.parse(await sql(`${versions} group by all order by n`))).toEqual([
    { v: [0, 0, 0], lineage: 'lab', n: 12 },
    { v: [1, 1, 1], lineage: 'lab', n: 24 },
  ])
  expect(JSON.parse(await sql('select version::int as v, name from model.activated order by v'))).toMatchObject([
    { v: 0, name: expect.stringMatching(/^lab@[0-9a-f]{12}$/) },
    { v: 1 },
  ])
  expect(await sql('select reason from model.refused')).toContain('the rank is too high')
  await plumblineOk([...tower, '--seed', '3'], place)
  await plumblineOk(['run', '--until-idle', '--policy', 'random-legal'], place)
  expect(await sql('select count(*)::int as n from policy.completions_sampled')).toContain('48')
  expect(await plumblineOk(['verify'], place)).toBe('verify: passed\n')
})

test.each([
  ['openai(http://h/v1, M, {"unsupported_tokens": []})', [], 'expected a list of 1 to 256 token ids'],
  ['openai(nonsense)', [], 'it looks like openai(http://127.0.0.1:8000/v1, MODEL)'],
  ['openai(ftp://h/v1, M)', [], 'expected a URL of http: or https:'],
  ['openai(http://u:sk-oops@h/v1, M)', [], 'the key goes into PLUMBLINE_API_KEY'],
  ['random-legal', ['--concurrency', '4'], 'are of a policy over HTTP'],
  ['openai(http://h/v1, lineage:run-1)', [], 'name it: --adapters DIR'],
  ['openai(http://h/v1, M)', ['--adapters', 'd'], 'are of a policy that loads the adapters of a lineage'],
  ['openai(http://h/v1, M)', ['--temperature', 'hot'], '--temperature hot: expected a number from 0 to 5'],
])('--policy %s %j is refused with what to type', async (policy, more, message) => {
  const ended = await plumbline(['run', '--policy', policy, ...more], { cwd: await sharedFolder() })
  expect(ended.code).toBe(2)
  expect(ended.stderr).toContain(message)
  expect(ended.stderr).not.toContain('sk-oops')
})
