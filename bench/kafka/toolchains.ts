import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { findMaven } from '../../infra/kafka-broker/artifacts.ts'
import { withFileLock } from '../../infra/kafka-broker/file-lock.ts'
import { findExecutables, findJava } from '../../infra/kafka-broker/java.ts'

export const PEERS = fileURLToPath(new URL('../peers', import.meta.url))
const PYTHON = '3.11'

export interface Command {
  readonly program: string
  readonly args: readonly string[]
  readonly env?: Readonly<Record<string, string>>
}

type Say = (line: string) => void

/** Where the guard installs uv when there is none in PATH. */
const GUARDS_UV = fileURLToPath(new URL('../../.guard/uv/bin/uv', import.meta.url))

/** A Python program of `bench/peers/NAME`, in an environment of its own that uv makes once. */
export async function pythonCommand(name: string, say: Say): Promise<Command> {
  const folder = join(PEERS, name)
  const requirements = join(folder, 'requirements.txt')
  const environment = await made(name, [requirements], say, async (arriving) => {
    const uv = [...findExecutables('uv', process.env), GUARDS_UV].find((file) => existsSync(file))
    if (uv === undefined) {
      throw new Error(`bench/peers/${name} needs uv: npm test brings one, or install it: https://docs.astral.sh/uv`)
    }
    // Relocatable: it is moved once it is complete.
    await command(uv, ['venv', '--quiet', '--relocatable', '--python', PYTHON, arriving])
    await command(uv, ['pip', 'install', '--quiet', '--python', join(arriving, 'bin', 'python'), '-r', requirements])
  })
  return { program: join(environment, 'bin', 'python'), args: [join(folder, 'job.py')], env: { PYTHONPATH: PEERS } }
}

/** The sources that the Java programs share, and the pom that is the parent of theirs. */
const JAVA = join(PEERS, 'java')

/** The Java program of `bench/peers/NAME`, which Maven compiles once. */
export async function javaCommand(name: string, say: Say): Promise<Command> {
  const folder = join(PEERS, name)
  const { java } = findJava()
  const target = await made(name, [JAVA, folder].flatMap(sourcesOf), say, async (arriving) => {
    await command(findMaven(), [
      ...['-B', '-q', '-f', join(folder, 'pom.xml'), `-Dtarget=${arriving}`, 'compile'],
      ...['dependency:copy-dependencies', '-DincludeScope=runtime', `-DoutputDirectory=${join(arriving, 'libs')}`],
    ])
  })
  const classpath = [join(target, 'classes'), join(target, 'libs', '*')].join(':')
  return { program: java, args: ['-Xmx1g', '-cp', classpath, 'plumbline.Job'] }
}

/** Only what is compiled: a `target` that an editor made beside it changes nothing. */
function sourcesOf(folder: string): string[] {
  const files = readdirSync(join(folder, 'src'), { recursive: true, withFileTypes: true })
  const sources = files.filter((file) => file.isFile()).map(({ parentPath, name }) => join(parentPath, name))
  return [join(folder, 'pom.xml'), ...sources.sort()]
}

/** A cache folder, made once for each content of these files; outside of the clone, like the broker's libraries. */
async function made(name: string, files: readonly string[], say: Say, make: (dir: string) => Promise<void>) {
  const hash = createHash('sha256')
  for (const file of files) hash.update(readFileSync(file))
  const cache = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'plumbline', 'peers')
  const dir = join(cache, `${name}-${hash.digest('hex').slice(0, 8)}`)
  if (existsSync(dir)) return dir
  mkdirSync(cache, { recursive: true })
  await withFileLock(
    `${dir}.lock`,
    async () => {
      if (existsSync(dir)) return
      say(`installing what bench/peers/${name} names into ${dir} (once)`)
      const arriving = `${dir}.arriving`
      rmSync(arriving, { recursive: true, force: true })
      await make(arriving)
      renameSync(arriving, dir)
    },
    () => say(`waiting for another process that installs bench/peers/${name}`),
  )
  return dir
}

async function command(program: string, args: readonly string[]): Promise<void> {
  try {
    await promisify(execFile)(program, [...args], { timeout: 600_000 })
  } catch (error) {
    const { stdout = '', stderr = '' } = error as { stdout?: string; stderr?: string }
    throw new Error(`${program} ${args.join(' ')} failed: ${stdout}${stderr}`, { cause: error })
  }
}
