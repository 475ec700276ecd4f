import { type ChildProcess, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface, type Interface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { repairLog } from '../../../infra/log/lmdb/repair.ts'
import { LogDamagedError } from '../../../infra/log/port/log.ts'
import { checkRepaired, type DamageKind, damagedBy, resumes, type SoundLog, soundLog } from '../../damaged-logs.ts'
import type { FuzzPart, FuzzTarget } from '../fuzz.ts'
import type { Opened } from './reader.ts'

const KINDS: readonly DamageKind[] = ['flips', 'truncation', 'zeroed pages', 'other pages']

/**
 * Damaged data files of the embedded log. Another process opens and reads each file: it must neither crash nor return a
 * record that was not written. A repair must keep what is intact and name what is not.
 */
export const filesPart: FuzzPart = {
  name: 'files',
  async open() {
    const dir = mkdtempSync(join(tmpdir(), 'plumbline-files-'))
    return new Files(dir, await soundLog(join(dir, 'sound')))
  },
}

class Files implements FuzzTarget {
  readonly #dir: string
  readonly #sound: SoundLog
  #reader = new Reader()

  constructor(dir: string, sound: SoundLog) {
    this.#dir = dir
    this.#sound = sound
  }

  attempt: FuzzTarget['attempt'] = async (random, trying) => {
    const kind = KINDS[random.integer(0, KINDS.length - 1)] as DamageKind
    const { bytes, what } = damagedBy(random, kind, this.#sound)
    trying(`${kind}: ${what}`)
    const [from, to] = [join(this.#dir, 'damaged'), join(this.#dir, 'repaired')]
    for (const dir of [from, to]) rmSync(dir, { recursive: true, force: true })
    mkdirSync(from)
    writeFileSync(join(from, 'data.mdb'), bytes)
    writeFileSync(join(from, 'lock-word.json'), this.#sound.lock_word)
    // Repair first, because the reader adds files of its own.
    const repaired = await this.#repair(from, to)
    return `${kind}: ${this.#judged(await this.#reader.ask(from))}, ${repaired}`
  }

  async check(): Promise<void> {}

  async close(): Promise<void> {
    await this.#reader.close()
    rmSync(this.#dir, { recursive: true, force: true })
  }

  #judged({ error, message, records }: Opened): string {
    if (error === 'LogDamagedError') {
      if (message.length < 40) throw new Error(`refused without words: ${message}`)
      return 'refused'
    }
    if (error === 'RecordDamagedError' || error === 'damage named') return 'damage named'
    if (error !== 'none') throw new Error(`${error}: ${message}`)
    let missing = this.#sound.records.size
    for (const [place, digest] of Object.entries(records)) {
      const right = this.#sound.records.get(place)
      if (right === digest) missing--
      // The catalog has no checksum. A topic whose name has changed belongs to no event.
      else if (right !== undefined) throw new Error(`${place}: another record than was written`)
    }
    return missing === 0 ? 'read whole' : 'another catalog'
  }

  async #repair(from: string, to: string): Promise<string> {
    try {
      return `repaired ${await checkRepaired(this.#sound, to, await repairLog({ from, to, resumes }))}`
    } catch (error) {
      if (error instanceof LogDamagedError) return 'beyond repair'
      throw error
    }
  }
}

class Reader {
  readonly #process: ChildProcess
  readonly #lines: Interface
  #ended: string | undefined

  constructor() {
    const program = fileURLToPath(new URL('./reader.ts', import.meta.url))
    this.#process = spawn(process.execPath, [program], { stdio: ['pipe', 'pipe', 'inherit'] })
    this.#lines = createInterface(this.#process.stdout as NonNullable<ChildProcess['stdout']>)
    this.#process.once('exit', (code, signal) => {
      this.#ended = `exit code ${code}, signal ${signal}`
    })
  }

  async ask(dir: string): Promise<Opened> {
    return await new Promise((resolve, reject) => {
      const ended = (code: number | null, signal: string | null) =>
        reject(new Error(`the reader died of it: exit code ${code}, signal ${signal}`))
      const late = setTimeout(() => reject(new Error('no answer within 30 s')), 30_000)
      this.#process.once('exit', ended)
      this.#lines.once('line', (line) => {
        clearTimeout(late)
        this.#process.off('exit', ended)
        resolve(JSON.parse(line) as Opened)
      })
      this.#process.stdin?.write(`${dir}\n`)
    })
  }

  async close(): Promise<void> {
    if (this.#ended !== undefined) return
    const ended = new Promise((resolve) => this.#process.once('exit', resolve))
    this.#process.kill('SIGKILL')
    await ended
  }
}
