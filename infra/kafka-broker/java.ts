import { spawnSync } from 'node:child_process'
import { accessSync, constants, existsSync } from 'node:fs'
import { delimiter, dirname, join } from 'node:path'
import { BrokerError } from './broker-error.ts'

export interface Java {
  readonly java: string
  readonly keytool: string
  /** As the runtime calls itself, e.g. 17.0.15+6-Debian-1deb12u1. */
  readonly version: string
}

/** Kafka 4 brokers run on Java 17 or newer. */
const OLDEST = 17
const REMEDY = `install Java ${OLDEST} or newer (Debian: apt install openjdk-17-jre-headless; others: https://adoptium.net), or let JAVA_HOME name it`

/** @throws BrokerError when there is no Java, or none that is recent enough. */
export function findJava(env: NodeJS.ProcessEnv = process.env): Java {
  const candidates = [
    ...(env.JAVA_HOME ? [join(env.JAVA_HOME, 'bin', 'java')].filter(executable) : []),
    ...findExecutables('java', env),
  ]
  const found: string[] = []
  for (const java of candidates) {
    const { stdout, stderr } = spawnSync(java, ['-XshowSettings:properties', '-version'], { encoding: 'utf8', env })
    const version = /^ *java\.runtime\.version = (.+)$/m.exec(`${stderr}${stdout}`)?.[1]
    const home = /^ *java\.home = (.+)$/m.exec(`${stderr}${stdout}`)?.[1] ?? dirname(dirname(java))
    if (version === undefined) found.push(`${java} does not run`)
    else if (Number.parseInt(version, 10) < OLDEST) found.push(`${java} is ${version}`)
    else return { java, version, keytool: join(home, 'bin', 'keytool') }
  }
  throw new BrokerError(
    `Apache Kafka needs Java ${OLDEST} or newer: ${found.join(', ') || 'there is no java in PATH or JAVA_HOME'}`,
    REMEDY,
  )
}

/** The programs of this name that PATH leads to. */
export function findExecutables(name: string, env: NodeJS.ProcessEnv = process.env): string[] {
  return (env.PATH ?? '')
    .split(delimiter)
    .filter((folder) => folder !== '')
    .map((folder) => join(folder, name))
    .filter(executable)
}

function executable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK)
    return existsSync(file)
  } catch {
    return false
  }
}
