import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { chmod, readFile, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, inject, test } from 'vitest'
import { kafkaTool } from '../testing/kafka-tool.ts'
import { commandsOf, wordsOf } from '../testing/page-commands.ts'
import { describeWithBroker } from '../testing/with-broker.ts'
import { sharedFolder } from '../tests/cli/plumbline.ts'

const at = (path: string) => fileURLToPath(new URL(`../${path}`, import.meta.url))
const python = at('.venv/bin/python')

describeWithBroker('docs/python.md', () => {
  test('Python and the console consumer read what the page shows; valid records from Python are accepted, invalid ones are not', async () => {
    expect(existsSync(python), `${python}: npm test makes it`).toBe(true)
    const { cwd, type } = await reader()
    const printed = new Map<string, string>()
    for (const line of await commandsOf('docs/python.md')) printed.set(line, await type(line))
    const printedFor = (part: string) => [...printed].filter(([line]) => line.includes(part)).map(([, text]) => text)

    const [read = ''] = printedFor('read_events.py')
    const [answered = ''] = printedFor('from rewards group by')
    const rows = (text: string) =>
      text.split('\n').flatMap((line) => (line.startsWith('top_block') ? [line.split(/\s+/)] : []))
    expect(rows(read).length).toBeGreaterThan(0)
    expect(rows(read)).toEqual(rows(answered))
    expect(rows(read).reduce((sum, [, , , n]) => sum + Number(n), 0)).toBe(8 * 4)

    const [consumed = ''] = printedFor('kafka-console-consumer')
    const records = consumed
      .trim()
      .split('\n')
      .map((line) => line.split('\t'))
    expect(records).toHaveLength(8)
    for (const [headers = '', key, value = ''] of records) {
      expect(headers).toContain('ce_type:rollout.requested,')
      expect(JSON.parse(value)).toMatchObject({ group_id: key, group_size: 4 })
    }

    expect(printedFor('group_id request.json')).toEqual([expect.stringMatching(/rollout\.requested: 1 written\n$/)])
    const [asked = ''] = printedFor("group_id = 'asked-from-python-1'")
    expect(asked.match(/^asked-from-python-1 /gm)).toHaveLength(4)
    const [letters = ''] = printedFor('dlq list')
    const reason = /rollout\.requested p\d@\d+ +asked-from-p +no +.*group_size: expected .*four/
    for (const name of ['sample-completions', 'score-completions', 'form-groups'])
      expect(letters).toMatch(new RegExp(`^ *\\d+ +${name} +poison +${reason.source}`, 'm'))
    // The sink cannot read it either; that line is named by topic, partition and offset.
    expect(letters).toMatch(/^ *rollout\.requested\/\d\/\d+ +duckdb /m)
    expect(letters.trim().split('\n')).toHaveLength(2 + 4)

    // Sending it again writes the same event. An invalid request can only be sent unchecked.
    const [send = ''] = [...printed.keys()].filter((line) => line.endsWith('group_id request.json'))
    await type(send)
    await type('./plumbline run --until-idle --policy random-legal')
    expect(
      await type(`./plumbline sql "select count(*)::int as n from rewards where group_id like 'asked%'" --json`),
    ).toContain('4')
    await expect(type(send.replace('request.json', 'wrong.json'))).rejects.toThrow(/'four' is not of type 'integer'/)
    expect(await readFile(join(cwd, 'rollout.requested.schema.json'), 'utf8')).toContain('"$schema"')
    expect(await type('./plumbline verify')).toBe('verify: passed\n')
  }, 580_000)
})

/** A reader of the page: a shell in a separate folder, and the shared broker. */
async function reader() {
  const cwd = await sharedFolder()
  const bootstrap = inject('kafka')
  const prefix = `python-${process.pid}`
  for (const name of ['docs', '.venv']) await symlink(at(name), join(cwd, name))
  await writeFile(join(cwd, 'plumbline'), `#!/bin/sh\nexec "${process.execPath}" "${at('cli/main.ts')}" "$@"\n`)
  await chmod(join(cwd, 'plumbline'), 0o755)
  const page = await readFile(at('docs/python.md'), 'utf8')
  for (const [, name = '', body = ''] of page.matchAll(/^```json (\S+)\n([\s\S]*?)^```$/gm))
    await writeFile(join(cwd, name), body)
  const env = { ...process.env, NO_COLOR: '1', NODE_NO_WARNINGS: '1', PLUMBLINE_LOG: `kafka://${bootstrap}/${prefix}` }
  const type = async (line: string): Promise<string> => {
    if (line.startsWith('export ')) return ''
    const [program, ...words] = wordsOf(line)
    if (program !== 'kafka-console-consumer.sh')
      return (await promisify(execFile)('sh', ['-c', line], { cwd, env, timeout: 200_000 })).stdout
    // kafkaTool adds the broker's address itself. Topics have a prefix in this test.
    const args = words.slice(2).map((word, at, all) => (all[at - 1] === '--topic' ? `${prefix}.${word}` : word))
    return kafkaTool({ bootstrap, dir: cwd }, 'ConsoleConsumer', args)
  }
  return { cwd, type }
}
