import { readFileSync } from 'node:fs'

/**
 * Anonymous memory of a process in MiB; 0 when it is gone. Mapped pages of the log are not in it: the system takes them
 * back when it needs them. Linux only.
 */
export function anonymousMib(pid: number | undefined): number {
  try {
    const kib = /^RssAnon:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
    return Number(kib ?? 0) / 1024
  } catch {
    return 0
  }
}
