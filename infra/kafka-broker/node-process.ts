import { spawn, spawnSync } from 'node:child_process'
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  realpathSync,
  renameSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { nodeFolder } from './cluster.ts'

/** Identifies a process as this folder's node, because another process may have reused its number. */
const markOf = (dir: string, id: number) => `-Dplumbline.kafka.node=${nodeFolder(realpathSync(dir), id)}`

const pidFile = (dir: string, id: number) => join(nodeFolder(dir, id), 'pid')

export interface NodeCommand {
  readonly java: string
  readonly options: readonly string[]
  readonly classpath: string
}

/** Starts a node that outlives this process. Its log is `server.log`; Java's own output is in `java.log`. */
export function spawnNode(dir: string, id: number, { java, options, classpath }: NodeCommand): number {
  const cwd = nodeFolder(dir, id)
  mkdirSync(cwd, { recursive: true })
  const out = openSync(join(cwd, 'java.log'), 'w')
  try {
    const args = [...options, markOf(dir, id), '-cp', classpath, 'kafka.Kafka', 'server.properties']
    // The process records its number before it becomes Java, so that a starter killed in between leaves no lost node.
    const note = 'echo $$ > "$0.own" && mv "$0.own" "$0" && exec "$@"'
    const child = spawn('/bin/sh', ['-c', note, 'pid', java, ...args], {
      cwd,
      detached: true,
      stdio: ['ignore', out, out],
    })
    child.unref()
    if (child.pid === undefined) throw new Error('/bin/sh cannot be started')
    // Renamed into place: a reader of a half-written file would find no number in it, and so no node.
    writeFileSync(`${pidFile(dir, id)}.new`, `${child.pid}\n`)
    renameSync(`${pidFile(dir, id)}.new`, pidFile(dir, id))
    return child.pid
  } finally {
    closeSync(out)
  }
}

/** The number of the node's process; undefined if it does not run. */
export function pidOf(dir: string, id: number): number | undefined {
  if (!existsSync(pidFile(dir, id))) return undefined
  const pid = Number(readFileSync(pidFile(dir, id), 'utf8'))
  return Number.isSafeInteger(pid) && pid > 0 && commandOf(pid).includes(markOf(dir, id)) ? pid : undefined
}

/** Arguments of a process; none when it has ended, also while it is a zombie. */
function commandOf(pid: number): readonly string[] {
  if (process.platform === 'linux') {
    // During `exec` a process has no arguments for a moment.
    for (let looks = 0; looks < 50; looks++) {
      const command = procFile(pid, 'cmdline')
      if (command !== '') return command.split('\0')
      if (!/^\d+ \(.*\) [^ZX] /s.test(procFile(pid, 'stat'))) return []
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10)
    }
    return []
  }
  const { stdout } = spawnSync('ps', ['-ww', '-o', 'command=', '-p', String(pid)], { encoding: 'utf8' })
  const mark = /-Dplumbline\.kafka\.node=.*?\/node-\d+(?= )/.exec(stdout ?? '')
  return mark === null ? [] : [mark[0]]
}

function procFile(pid: number, name: string): string {
  try {
    return readFileSync(`/proc/${pid}/${name}`, 'utf8')
  } catch {
    return ''
  }
}

/** Stops a node by SIGTERM, and after `patience_ms` by SIGKILL. @returns whether it ran */
export async function stopNode(dir: string, id: number, patience_ms: number): Promise<boolean> {
  const pid = pidOf(dir, id)
  if (pid === undefined) return false
  if (patience_ms > 0) {
    signal(pid, 'SIGTERM')
    if (await gone(dir, id, patience_ms)) return true
  }
  // Looked up again: the number may belong to another process by now.
  const still = pidOf(dir, id)
  if (still !== undefined) signal(still, 'SIGKILL')
  if (!(await gone(dir, id, 10_000))) throw new Error(`node ${id} (process ${pid}) does not end, not even by SIGKILL`)
  return true
}

async function gone(dir: string, id: number, patience_ms: number): Promise<boolean> {
  const deadline = performance.now() + patience_ms
  while (pidOf(dir, id) !== undefined) {
    if (performance.now() > deadline) return false
    await wait(50)
  }
  return true
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}
