import { once } from 'node:events'
import net from 'node:net'
import tls from 'node:tls'

/** The part of Kafka's protocol that shows that a node answers: log in, ask for the nodes, ask for the leader. */
export interface Door {
  readonly port: number
  readonly user?: { readonly name: string; readonly password: string } | undefined
  /** Certificate authority in PEM; `any` accepts every certificate. */
  readonly ca?: string | 'any' | undefined
}

export interface Answer {
  readonly nodes: readonly { readonly id: number; readonly port: number }[]
  /** Leader of the controllers' quorum; undefined while there is none. */
  readonly leader: number | undefined
}

const API = { metadata: [3, 1], sasl_handshake: [17, 1], sasl_authenticate: [36, 0], describe_quorum: [55, 0] } as const

/** @throws Error when no Kafka node answers within the time. */
export async function askNode(door: Door, patience_ms: number): Promise<Answer> {
  const socket = connect(door)
  const patience = setTimeout(() => socket.destroy(new Error(`no answer within ${patience_ms} ms`)), patience_ms)
  try {
    await once(socket, door.ca === undefined ? 'connect' : 'secureConnect')
    const ask = asking(socket)
    if (door.user !== undefined) await logIn(ask, door.user)
    const metadata = await ask(API.metadata, int32(0))
    const nodes: { id: number; port: number }[] = []
    for (let count = metadata.int32(); count > 0; count--) {
      const id = metadata.int32()
      metadata.string()
      nodes.push({ id, port: metadata.int32() })
      metadata.string()
    }
    return { nodes, leader: await leaderOf(ask) }
  } finally {
    clearTimeout(patience)
    socket.destroy()
  }
}

function connect({ port, ca }: Door): net.Socket {
  const to = { host: '127.0.0.1', port }
  if (ca === undefined) return net.connect(to)
  return tls.connect({ ...to, ...(ca === 'any' ? { rejectUnauthorized: false } : { ca }) })
}

type Ask = (api: readonly [number, number], body: Buffer, header_tags?: Buffer) => Promise<Reader>

function asking(socket: net.Socket): Ask {
  const chunks = socket[Symbol.asyncIterator]()
  return async ([api, version], body, header_tags = Buffer.alloc(0)) => {
    const header = Buffer.concat([int16(api), int16(version), int32(1), string('plumbline-broker'), header_tags])
    socket.write(Buffer.concat([int32(header.length + body.length), header, body]))
    let bytes = Buffer.alloc(0)
    while (bytes.length < 4 || bytes.length < 4 + bytes.readInt32BE(0)) {
      const { done, value } = await chunks.next()
      if (done) throw new Error('the connection was closed before the answer')
      bytes = Buffer.concat([bytes, value as Buffer])
    }
    return new Reader(bytes, 8)
  }
}

async function logIn(ask: Ask, { name, password }: NonNullable<Door['user']>): Promise<void> {
  const handshake = await ask(API.sasl_handshake, string('PLAIN'))
  refused('SASL handshake', handshake.int16())
  const token = Buffer.from(`\0${name}\0${password}`)
  const authenticated = await ask(API.sasl_authenticate, Buffer.concat([int32(token.length), token]))
  refused('SASL authentication', authenticated.int16())
}

function refused(what: string, code: number): void {
  if (code !== 0) throw new Error(`${what} was refused with Kafka error code ${code}`)
}

/** The metadata log is partition 0 of this topic. DescribeQuorum has only the flexible encoding (KIP-482, KIP-595). */
async function leaderOf(ask: Ask): Promise<number | undefined> {
  const name = Buffer.from('__cluster_metadata')
  const tags = Buffer.of(0)
  const topic = Buffer.concat([Buffer.of(name.length + 1), name, Buffer.of(2), int32(0), tags, tags])
  const answer = await ask(API.describe_quorum, Buffer.concat([Buffer.of(2), topic, tags]), tags)
  answer.skip(1)
  if (answer.int16() !== 0) return undefined
  answer.skip(1)
  answer.skip(answer.uint8() - 1)
  answer.skip(1)
  answer.skip(4)
  if (answer.int16() !== 0) return undefined
  const leader = answer.int32()
  return leader < 0 ? undefined : leader
}

class Reader {
  readonly #bytes: Buffer
  #at: number

  constructor(bytes: Buffer, at: number) {
    this.#bytes = bytes
    this.#at = at
  }

  skip(count: number): void {
    this.#at += count
  }

  uint8(): number {
    return this.#bytes.readUInt8(this.#at++)
  }

  int16(): number {
    this.#at += 2
    return this.#bytes.readInt16BE(this.#at - 2)
  }

  int32(): number {
    this.#at += 4
    return this.#bytes.readInt32BE(this.#at - 4)
  }

  string(): string | null {
    const length = this.int16()
    if (length < 0) return null
    this.#at += length
    return this.#bytes.toString('utf8', this.#at - length, this.#at)
  }
}

function int16(value: number): Buffer {
  const bytes = Buffer.alloc(2)
  bytes.writeInt16BE(value)
  return bytes
}

function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32BE(value)
  return bytes
}

function string(text: string): Buffer {
  const bytes = Buffer.from(text)
  return Buffer.concat([int16(bytes.length), bytes])
}
