import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { BrokerError } from './broker-error.ts'
import { withFileLock } from './file-lock.ts'
import { findExecutables } from './java.ts'

export interface Artifacts {
  /** Version of Apache Kafka. */
  readonly version: string
  /** Outside of the clone; contains `libs/` and files made from it. */
  readonly dir: string
  readonly classpath: string
}

const POM = fileURLToPath(new URL('pom.xml', import.meta.url))
const COPY = 'org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies'
const STAMP = 'libs.json'

/**
 * The libraries that `pom.xml` names, from the cache; Maven copies them there once. Several processes may call it.
 *
 * @throws BrokerError when they are not cached yet and Maven is missing or fails.
 */
export async function kafkaArtifacts(
  say: (line: string) => void = () => {},
  env: NodeJS.ProcessEnv = process.env,
): Promise<Artifacts> {
  const artifacts = cachedArtifacts(env)
  if (complete(artifacts.dir)) return artifacts
  const maven = findMaven(env)
  const cache = cacheFolder(env)
  mkdirSync(cache, { recursive: true })
  await withFileLock(
    `${artifacts.dir}.lock`,
    async () => {
      if (complete(artifacts.dir)) return
      say(`fetching Apache Kafka ${artifacts.version} with Maven into ${artifacts.dir} (once)`)
      await copyWith(maven, artifacts, env)
    },
    () => say(`waiting for another process that fetches Apache Kafka ${artifacts.version}`),
  )
  return artifacts
}

/** Whether the next `kafkaArtifacts` needs no Maven. */
export const artifactsAreCached = (env: NodeJS.ProcessEnv = process.env): boolean => complete(cachedArtifacts(env).dir)

/** @throws BrokerError when there is no Maven. */
export function findMaven(env: NodeJS.ProcessEnv = process.env): string {
  const [maven] = findExecutables('mvn', env)
  if (maven !== undefined) return maven
  throw new BrokerError(
    `Apache Kafka ${kafkaVersion(pom())} is fetched with Maven: there is no mvn in PATH`,
    'install Maven (Debian: apt install maven; others: https://maven.apache.org/install.html); it is needed once',
  )
}

const pom = () => readFileSync(POM, 'utf8')

function kafkaVersion(text: string): string {
  const version = /<artifactId>kafka_2\.13<\/artifactId>\s*<version>([^<]+)</.exec(text)?.[1]
  if (version === undefined) throw new Error(`${POM}: expected a version of kafka_2.13`)
  return version
}

function cacheFolder(env: NodeJS.ProcessEnv): string {
  return join(env.XDG_CACHE_HOME || join(env.HOME || homedir(), '.cache'), 'plumbline')
}

function cachedArtifacts(env: NodeJS.ProcessEnv): Artifacts {
  const text = pom()
  const version = kafkaVersion(text)
  // A different pom has a different folder, so that two clones of different age do not replace each other's libraries.
  const dir = join(cacheFolder(env), `kafka-${version}-${createHash('sha256').update(text).digest('hex').slice(0, 8)}`)
  return { version, dir, classpath: join(dir, 'libs', '*') }
}

async function copyWith(maven: string, { dir, version }: Artifacts, env: NodeJS.ProcessEnv): Promise<void> {
  const arriving = `${dir}.arriving`
  rmSync(arriving, { recursive: true, force: true })
  const libs = join(arriving, 'libs')
  mkdirSync(libs, { recursive: true })
  const child = spawn(maven, ['-B', '-q', '-f', POM, COPY, `-DoutputDirectory=${libs}`, '-DincludeScope=runtime'], {
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let said = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (chunk: string) => {
      said = (said + chunk).slice(-8_192)
    })
  }
  const [code] = await once(child, 'close')
  if (code !== 0) {
    const why = said.split('\n').find((line) => line.startsWith('[ERROR]')) ?? said.trim().split('\n').at(-1)
    throw new BrokerError(
      `Maven could not fetch Apache Kafka ${version}: ${why?.replace('[ERROR] ', '') || `it ended with ${code}`}`,
      `see the output of: mvn -f ${POM} ${COPY} (a proxy or mirror is named in ~/.m2/settings.xml)`,
    )
  }
  const sizes = Object.fromEntries(readdirSync(libs).map((jar) => [jar, statSync(join(libs, jar)).size]))
  writeFileSync(join(arriving, STAMP), `${JSON.stringify(sizes, null, 1)}\n`)
  rmSync(dir, { recursive: true, force: true })
  renameSync(arriving, dir)
}

/** Whether every library that Maven copied is present with its recorded size. */
function complete(dir: string): boolean {
  try {
    const sizes = JSON.parse(readFileSync(join(dir, STAMP), 'utf8')) as Record<string, number>
    return Object.entries(sizes).every(([jar, size]) => statSync(join(dir, 'libs', jar)).size === size)
  } catch {
    return false
  }
}
