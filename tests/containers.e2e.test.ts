import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { plumblineOk, sharedFolder } from './cli/plumbline.ts'

/** Checks the container files without a container engine. The last test needs docker compose, or is skipped. */

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const read = (name: string) => readFileSync(`${ROOT}${name}`, 'utf8')
const compose = read('docker-compose.yml')

test('every command of docker-compose.yml is one that this program has, with options that it has', async () => {
  const cwd = await sharedFolder()
  const commands = [...compose.matchAll(/^ {4}command: (\[.*\])$/gm)].map(([, json]) => JSON.parse(json as string))
  expect(commands).toHaveLength([...compose.matchAll(/^ {4}<<: \*plumbline$/gm)].length)
  expect(commands.length).toBeGreaterThan(0)
  for (const [name, ...words] of commands as string[][]) {
    const help = await plumblineOk([name as string, '--help'], { cwd })
    const known = new Set([...help.matchAll(/--[\w-]+/g)].map(([option]) => option))
    expect([...known]).toEqual(expect.arrayContaining(words.filter((word) => word.startsWith('--'))))
  }
})

test('the broker in the containers is the one that `broker start` fetches', () => {
  const version = /kafka_2\.13<\/artifactId>\s*<version>([^<]+)</.exec(read('infra/kafka-broker/pom.xml'))?.[1]
  expect(compose).toContain(`image: apache/kafka:${version}\n`)
})

test('every variable of Plumbline in docker-compose.yml is one that the program reads', () => {
  const names = new Set([...compose.matchAll(/PLUMBLINE_\w+/g)].map(([name]) => name))
  expect(names.size).toBeGreaterThan(0)
  for (const name of names) expect(read('cli/commands.ts')).toContain(`process.env.${name}`)
})

test('the image leaves out what a checkout generates', () => {
  const ignored = read('.dockerignore').split('\n')
  expect(ignored).toEqual(expect.arrayContaining(['.git', '.guard', '.venv', 'data', 'node_modules']))
})

const client = [['docker', 'compose'], ['docker-compose']].find(
  ([program = '', ...args]) => spawnSync(program, [...args, 'version']).status === 0,
)
const without = client === undefined ? ' (there is neither docker compose nor docker-compose here)' : ''

test.skipIf(client === undefined)(`docker-compose.yml is what docker compose expects${without}`, () => {
  const [program = '', ...args] = client ?? []
  const { status, stdout, stderr } = spawnSync(program, [...args, '-f', `${ROOT}docker-compose.yml`, 'config'], {
    encoding: 'utf8',
  })
  expect(status, stderr).toBe(0)
  expect(stdout).toContain('--no-sink')
})
