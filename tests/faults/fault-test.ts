import { cpSync, existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { openDataFolder } from '../../cli/data-folder.ts'
import { prepareLog } from '../../cli/pipeline.ts'
import { accountsOf } from './accounts.ts'
import { Crew } from './crew.ts'
import { logOf, wiring } from './data.ts'
import { commitFault } from './faults.ts'
import { type Sizes, scheduleOf } from './schedule.ts'
import { SmallDisk } from './small-disk.ts'
import { WriterLock } from './writer-lock.ts'

export interface FaultTestOptions {
  readonly seed: string
  readonly sizes: Sizes
  readonly planted?: 'early-positions' | undefined
  /** Told each line as it happens. */
  readonly report: (line: string) => void
}

export interface FaultTestResult {
  readonly breaches: readonly string[]
  readonly counts: Readonly<Record<string, number>>
  /** Deaths by place. */
  readonly deaths: Readonly<Record<string, number>>
  /** Kept when something is wrong. */
  readonly folder: string | undefined
}

/**
 * Producers, three workers, the sink and a reader on one log, and the faults of a seed, one after the other. At the end
 * everything is healed, finished and counted.
 */
export async function faultTest({ seed, sizes, planted, report }: FaultTestOptions): Promise<FaultTestResult> {
  const root = mkdtempSync(join(tmpdir(), 'plumbline-faults-'))
  const disk = new SmallDisk(join(root, 'disk'))
  const data = join(disk.dir, 'data')
  const unmount = () => disk.unmount()
  process.once('exit', unmount)
  const began_ms = performance.now()
  const line = (text: string) => report(`${((performance.now() - began_ms) / 1_000).toFixed(1).padStart(6)} s  ${text}`)
  const breaches: string[] = []
  let counts: Readonly<Record<string, number>> = {}

  const broken = (breach: string) => {
    breaches.push(breach)
    line(`BROKEN: ${breach.split('\n')[0]}`)
  }

  const folder = await openDataFolder({ data }, { create: true })
  await prepareLog(folder, await wiring())
  await folder.close()
  const lock = new WriterLock(logOf(data))
  const crew = new Crew({ root, data, seed, planted, onBreach: broken })
  try {
    crew.start()
    const first = await crew.heard.first(0, 180_000, ({ message: { says } }) => says === 'committed')
    if (first === undefined) broken('nothing was committed within 180 s of the start')
    for (const [at, step] of scheduleOf(seed, sizes).entries()) {
      if (breaches.length > 0) break
      await wait(step.pause_ms)
      line(`${String(at + 1).padStart(3)}. ${await commitFault({ crew, disk, lock }, step)}`)
    }
    line('healed: the producers end what they have begun, everybody stops')
    if (breaches.length === 0) {
      const ledger = await crew.end()
      line('finished as a person would: run --until-idle, sql, verify')
      const accounts = await accountsOf(data, ledger, crew.checkpoints)
      counts = accounts.counts
      breaches.push(...accounts.breaches)
    }
  } catch (error) {
    broken(error instanceof Error ? error.message : String(error))
  } finally {
    disk.free()
    await crew.kill()
    await lock.close()
  }
  const deaths = Object.fromEntries([...crew.slots].map(([place, slot]) => [place, slot.deaths]))
  const keep = breaches.length > 0
  if (keep && disk.refused === undefined && existsSync(data)) cpSync(data, join(root, 'data'), { recursive: true })
  unmount()
  process.off('exit', unmount)
  if (!keep) rmSync(root, { recursive: true, force: true })
  return { breaches, counts, deaths, folder: keep ? root : undefined }
}

/** The test as a person typed it, and what came of it as a text. */
export async function faultReport(
  options: Omit<FaultTestOptions, 'report'>,
): Promise<{ ok: boolean; text: string; folder: string | undefined }> {
  const lines: string[] = []
  const report = (text: string) => {
    lines.push(text)
    console.log(text)
  }
  report(
    `seed ${options.seed}: ${Object.entries(options.sizes)
      .map(([what, n]) => `${n} ${what}`)
      .join(', ')}`,
  )
  const { breaches, counts, deaths, folder } = await faultTest({ ...options, report })
  report(
    `deaths: ${Object.entries(deaths)
      .map(([place, n]) => `${place} ${n}`)
      .join(', ')}`,
  )
  for (const [what, n] of Object.entries(counts)) report(`${String(n).padStart(8)}  ${what}`)
  if (breaches.length === 0) report('nothing lost, nothing twice, the funnel holds, verify passes')
  else {
    for (const breach of breaches) report(`BROKEN: ${breach}`)
    const plant = options.planted === undefined ? '' : ` --plant ${options.planted}`
    report(
      `seed ${options.seed}; again: npm run test:faults -- --seed ${options.seed} --kills ${options.sizes.kills}${plant}`,
    )
    report(`kept: ${folder}`)
  }
  return { ok: breaches.length === 0, text: lines.join('\n'), folder }
}
