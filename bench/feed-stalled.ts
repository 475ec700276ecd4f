import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { type ClientRequest, request } from 'node:http'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { directoryBlobs } from '../infra/blobs/directory.ts'
import { openLmdbLog } from '../infra/log/lmdb/lmdb-log.ts'
import { appendGroups } from './feed-groups.ts'
import type { BenchFolder } from './folder.ts'
import { anonymousMib } from './memory.ts'
import type { Bench } from './pairs.ts'

const READERS = 25
const STALLED = 25
const COMPLETIONS = 16
const TOKENS = 256
const BATCH = 32
const LOOK_MS = 100
const JSON_BODY = { 'content-type': 'application/json' }

/** Consumers that read all groups, next to as many that ask for some and never read the answer, and without them. */
export async function stalledConsumers(folder: BenchFolder, groups: number): Promise<Bench> {
  const [dir, blobs] = [folder.fresh('log'), folder.fresh('blobs')]
  const log = await openLmdbLog({ dir })
  await appendGroups(log, directoryBlobs(blobs, { flush: false }), groups, COMPLETIONS, TOKENS)
  await log.close()
  const program = fileURLToPath(new URL('./feed-process.ts', import.meta.url))
  const feed = spawn(process.execPath, [...process.execArgv, program, dir, blobs], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const [url] = (await once(createInterface({ input: feed.stdout }), 'line')) as [string]
  const memory_mib: number[] = []
  const looking = setInterval(() => memory_mib.push(anonymousMib(feed.pid)), LOOK_MS)
  const consumers = new Consumers(url, groups)
  const side = (what: string, stalled: number) => ({
    what,
    prepare: () => consumers.start(stalled),
    run: () => consumers.readAll(),
    finish: () => consumers.end(),
  })
  return {
    measures: [
      {
        what: `${READERS} consumers of the feed that read, next to ${STALLED} that read nothing of their answers`,
        ...{ unit: 'groups', seconds: 'wall', goal: 0.9 },
        candidate: side(`${READERS} and ${STALLED}`, STALLED),
        ceiling: side(`the ${READERS} alone`, 0),
      },
    ],
    gauges: [
      {
        what: 'anonymous memory of the feed meanwhile',
        ...{ unit: 'MiB', goal: 700, values: () => [Math.max(...memory_mib)] },
      },
    ],
    async close() {
      clearInterval(looking)
      feed.stdin.end()
      if (feed.exitCode === null) await once(feed, 'exit')
    },
  }
}

class Consumers {
  readonly #url: string
  readonly #groups: number
  #turn = 0
  #readers: string[] = []
  #others: string[] = []
  #unread: ClientRequest[] = []

  constructor(url: string, groups: number) {
    this.#url = url
    this.#groups = groups
  }

  /** Subscribes new consumers, of which so many have asked for groups and read nothing. */
  async start(stalled: number): Promise<void> {
    const turn = this.#turn++
    this.#readers = Array.from({ length: READERS }, (_, at) => `reader-${turn}-${at}`)
    this.#others = Array.from({ length: stalled }, (_, at) => `stalled-${turn}-${at}`)
    for (const name of [...this.#readers, ...this.#others]) {
      await this.#call(name, 'PUT', '', {})
      await this.#call(name, 'POST', '/runs', { run: 'bench', attempt: name })
    }
    this.#unread = await Promise.all(this.#others.map((name) => this.#unreadLease(name)))
  }

  /** @returns how many groups the readers have read */
  async readAll(): Promise<number> {
    await Promise.all(
      this.#readers.map(async (name) => {
        for (let from = 0; from < this.#groups; from += BATCH) {
          await this.#call(name, 'POST', '/leases', leaseOf(String(from)))
        }
      }),
    )
    return this.#readers.length * this.#groups
  }

  async end(): Promise<void> {
    for (const unread of this.#unread) unread.destroy()
    for (const name of [...this.#readers, ...this.#others]) await this.#call(name, 'DELETE', '', {})
  }

  async #call(name: string, method: string, path: string, body: unknown): Promise<void> {
    const answer = await fetch(`${this.#url}/v1/consumers/${name}${path}`, {
      ...{ method, headers: JSON_BODY, body: JSON.stringify(body) },
    })
    await answer.arrayBuffer()
    if (answer.status !== 200) throw new Error(`${method} ${name}${path}: expected 200, got ${answer.status}`)
  }

  /** Resolves when the answer has begun. */
  async #unreadLease(name: string): Promise<ClientRequest> {
    const asked = request(`${this.#url}/v1/consumers/${name}/leases`, { method: 'POST', headers: JSON_BODY })
    asked.on('error', () => {})
    asked.end(JSON.stringify(leaseOf('unread')))
    const [response] = await once(asked, 'response')
    response.on('error', () => {})
    response.pause()
    return asked
  }
}

const leaseOf = (request: string) => ({ epoch: 1, rank: 0, request, groups: BATCH, bytes: 2 ** 28 })
