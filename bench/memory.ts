import { readdirSync, readFileSync } from 'node:fs'

/**
 * Anonymous memory of a process in MiB; 0 when it has ended. Mapped pages of the log do not count: the system reclaims
 * them when it needs them. Linux only.
 */
export function anonymousMib(pid: number | undefined): number {
  try {
    const kib = /^RssAnon:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
    return Number(kib ?? 0) / 1024
  } catch {
    return 0
  }
}

/** The child processes of a process that still run. Linux only. */
export function startedBy(pid: number): readonly number[] {
  try {
    return readdirSync(`/proc/${pid}/task`).flatMap((thread) =>
      readFileSync(`/proc/${pid}/task/${thread}/children`, 'utf8').split(' ').filter(Boolean).map(Number),
    )
  } catch {
    return []
  }
}
