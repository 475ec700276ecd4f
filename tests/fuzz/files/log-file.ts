import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { repairLog } from '../../../infra/log/lmdb/repair.ts'
import { LogDamagedError } from '../../../infra/log/port/log.ts'
import { checkRepaired, hotPages, resumes, type SoundLog, soundLog } from '../../../testing/damaged-logs.ts'
import { AskedProcess } from './asked-process.ts'
import { damaged } from './damage.ts'
import type { Opened } from './log-reader.ts'
import type { Target } from './target.ts'

/**
 * The embedded log's data file. Another process opens and reads it: it must neither crash nor return a record that was
 * not written. A repair must keep what is intact and name what is not.
 */
export class LogFile implements Target {
  readonly name = 'log'
  readonly #dir: string
  readonly #sound: SoundLog
  readonly #hot: readonly number[]
  readonly #reader = new AskedProcess<string, Opened>('./log-reader.ts')

  private constructor(dir: string, sound: SoundLog) {
    this.#dir = dir
    this.#sound = sound
    this.#hot = hotPages(sound)
  }

  /** @param dir a separate folder */
  static async make(dir: string): Promise<LogFile> {
    return new LogFile(dir, await soundLog(join(dir, 'sound')))
  }

  attempt: Target['attempt'] = async (random, kind, trying) => {
    const { bytes, what } = damaged(random, kind, this.#sound.bytes, { hot: this.#hot })
    trying(what)
    const [from, to] = [join(this.#dir, 'damaged'), join(this.#dir, 'repaired')]
    for (const dir of [from, to]) rmSync(dir, { recursive: true, force: true })
    mkdirSync(from)
    writeFileSync(join(from, 'data.mdb'), bytes)
    writeFileSync(join(from, 'lock-word.json'), this.#sound.lock_word)
    // Repair first, because the reader adds files of its own.
    const repaired = await this.#repair(from, to)
    return `${this.#judged(await this.#reader.ask(from))}, ${repaired}`
  }

  async close(): Promise<void> {
    await this.#reader.close()
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
