import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { eventually, plumblineOk, sharedFolder, start } from './plumbline.ts'

const SCHEMATHESIS = fileURLToPath(new URL('../../.venv/bin/schemathesis', import.meta.url))

/**
 * Not among them: what a document in JSON Schema cannot say (a file once, a declared type, a hash that fits) is refused
 * although it fits; and a consumer that has retired is still shown.
 */
const CHECKS = [
  ...['not_a_server_error', 'status_code_conformance', 'content_type_conformance', 'response_schema_conformance'],
  ...['response_headers_conformance', 'ignored_auth'],
]

test('a thousand calls that the OpenAPI document allows, or does not, are answered as it says, none with an internal error', {
  timeout: 180_000,
}, async () => {
  const cwd = await sharedFolder()
  const may = ['--consumers', '*', '--roles', 'read,receipts,publish,sql', '--events', '*', '--tokens', 'tokens.json']
  const token = (await plumblineOk(['feed', 'token', 'all', ...may], { cwd })).trim()
  const scenes = '--dataset top_block --task x_only --scenes 2 --seed 7'.split(' ')
  await plumblineOk(['generate', 'tower', ...scenes], { cwd })
  // So that there are tables to ask.
  await plumblineOk(['run', '--until-idle'], { cwd })
  const feed = start(['feed', '--listen', '127.0.0.1:0', '--tokens', 'tokens.json', '--json'], { cwd })
  const [said] = await eventually(() => /^\{.*\}\n/.exec(feed.stdout()), 60_000)
  const { url } = JSON.parse(said) as { url: string }
  const options = [
    ...['--header', `Authorization: Bearer ${token}`, '--checks', CHECKS.join(',')],
    ...['--max-examples', '10', '--seed', '1', '--request-timeout', '20', '--suppress-health-check', 'all'],
    '--no-color',
  ]
  const asked = promisify(execFile)(SCHEMATHESIS, ['run', `${url}/openapi.json`, ...options], { cwd, timeout: 120_000 })
  // An exit code other than 0 rejects, with what it found.
  const { stdout } = await asked.catch((error: { stdout?: string }) => {
    throw new Error(error.stdout || String(error))
  })
  const [, cases = '0'] = /(\d+) generated/.exec(stdout) ?? []
  expect(Number(cases)).toBeGreaterThan(500)
  expect(stdout).toMatch(/Tested: 17/)
  expect((await fetch(`${url}/readyz`)).status).toBe(200)
})
