import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseProcess } from './database-process.ts'
import { inMebibytes, memoryShares } from './memory.ts'
import type { ReaderOptions } from './reader.ts'

const ENTRY = new URL('./reader.ts', import.meta.url)
/** Short: a writer may just be ending; otherwise the caller looks for an owner again. */
const WAIT_MS = 500

export interface FileReaderOptions extends Pick<ReaderOptions, 'file' | 'export_dir'> {
  /** Bytes; see `memoryShares`. */
  readonly memory?: number | undefined
  readonly report?: (message: string) => void
}

/** A child process that reads a DuckDB file and answers SQL on a private socket. */
export class FileReader {
  readonly socket: string
  readonly #process: DatabaseProcess
  readonly #folder: string

  private constructor(folder: string, process: DatabaseProcess) {
    this.#folder = folder
    this.socket = join(folder, 'sql.sock')
    this.#process = process
  }

  /** @throws NoDatabaseError, DatabaseBusyError as `openDatabase` */
  static async open({ file, export_dir, memory, report }: FileReaderOptions): Promise<FileReader> {
    const shares = memoryShares(memory)
    const process = new DatabaseProcess({ entry: ENTRY, memory: shares, ...(report === undefined ? {} : { report }) })
    const reader = new FileReader(mkdtempSync(join(tmpdir(), 'plumbline-sql-')), process)
    try {
      const options: ReaderOptions = {
        file,
        socket: reader.socket,
        memory_limit: inMebibytes(shares.duckdb),
        wait_ms: WAIT_MS,
        ...(export_dir === undefined ? {} : { export_dir }),
      }
      await process.call({ call: 'open', options })
      return reader
    } catch (cause) {
      await reader.close()
      throw cause
    }
  }

  /** Resolves to why it ended unasked; pending while it runs. */
  get ended(): Promise<string | undefined> {
    return this.#process.ended
  }

  async close(): Promise<void> {
    await this.#process.close()
    rmSync(this.#folder, { recursive: true, force: true })
  }
}
