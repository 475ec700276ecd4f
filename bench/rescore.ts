import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface, type Interface } from 'node:readline'
import { benchFolder } from './folder.ts'
import { anonymousMib } from './memory.ts'
import type { OpenBench, Side } from './pairs.ts'
import { recordScoredCompletions } from './recorded-completions.ts'

const PROCESS = new URL('./rescore-process.ts', import.meta.url).pathname
const SAMPLE_MS = 100
/** A pair of a million completions takes minutes. */
const MOST_PAIRS = 3

/**
 * What `rescore --no-sink` does, under a new name each time, compared with only reading and decoding the same records.
 * Each has a process of its own, whose anonymous memory is read ten times a second.
 */
export const open: OpenBench = async ({ quick }) => {
  const folder = await benchFolder()
  const dir = folder.fresh('log')
  const groups = quick ? 200 : 62_500
  const completions = (groups * 16).toLocaleString('en-US')
  await recordScoredCompletions(dir, groups)
  const peaks_mib: number[] = []
  let turn = 0
  let child: Child | undefined

  const side = (work: 'rescore' | 'decode', what: string): Side => ({
    what,
    async prepare() {
      child = await start(work, dir, `turn-${turn++}`)
    },
    async run() {
      if (child === undefined) throw new Error('bench rescore: expected prepare() before run()')
      const { rows, peak_mib } = await child.work()
      if (rows !== groups * 16) throw new Error(`bench rescore: expected ${groups * 16} completions, got ${rows}`)
      if (work === 'rescore') peaks_mib.push(peak_mib)
      return rows
    },
  })
  return {
    measures: [
      {
        what: `rescore of ${completions} recorded completions`,
        unit: 'completions',
        seconds: 'wall',
        goal: 0.5,
        most_pairs: MOST_PAIRS,
        cold: true,
        candidate: side('rescore', 'rescore'),
        ceiling: side('decode', 'scan + decode of the same log'),
      },
    ],
    gauges: [
      {
        what: `anonymous memory of that rescore, at most`,
        unit: 'MiB',
        goal: 1024,
        values: () => peaks_mib,
      },
    ],
    close: () => folder.remove(),
  }
}

interface Child {
  work(): Promise<{ readonly rows: number; readonly peak_mib: number }>
}

async function start(work: string, dir: string, name: string): Promise<Child> {
  const child = spawn(process.execPath, [...process.execArgv, PROCESS, work, dir, name], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const gone = once(child, 'exit')
  const lines = createInterface({ input: child.stdout })
  await nextLine(lines, child)
  return {
    async work() {
      let peak_mib = 0
      const sample = () => {
        peak_mib = Math.max(peak_mib, anonymousMib(child.pid))
      }
      const sampling = setInterval(sample, SAMPLE_MS)
      try {
        child.stdin.write('go\n')
        const rows = Number(await nextLine(lines, child))
        sample()
        return { rows, peak_mib }
      } finally {
        clearInterval(sampling)
        await gone
      }
    },
  }
}

async function nextLine(lines: Interface, child: ChildProcess): Promise<string> {
  const printed = once(lines, 'line').then(([line]) => String(line))
  const ended = once(child, 'exit').then(([code]) => {
    throw new Error(`bench rescore: the process ended with ${code} before it had said what was expected`)
  })
  ended.catch(() => undefined)
  return await Promise.race([printed, ended])
}
