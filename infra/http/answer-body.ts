import { type Duplex, pipeline, type Readable } from 'node:stream'
import { createBrotliDecompress, createGunzip, createInflate, createZstdDecompress } from 'node:zlib'
import { AnswerTooLargeError, CallFailedError } from '../../processors/processor.ts'

/**
 * Bounds the bytes of all answers that are being received at once. Above the bound only the oldest answer is read;
 * the sockets of the others fill up, and back-pressure makes their servers wait.
 */
export class Intake {
  readonly #max_bytes: number
  /** Bytes buffered for each answer, oldest first. */
  readonly #held = new Map<symbol, number>()
  #total = 0
  #wake: (() => void)[] = []

  constructor(max_bytes: number) {
    this.#max_bytes = max_bytes
  }

  open(): symbol {
    const answer = Symbol('answer')
    this.#held.set(answer, 0)
    return answer
  }

  /** Resolves when the bytes fit, or when `answer` is the oldest one. */
  async take(answer: symbol, bytes: number): Promise<void> {
    while (this.#total + bytes > this.#max_bytes && this.#held.keys().next().value !== answer) {
      await new Promise<void>((resolve) => this.#wake.push(resolve))
    }
    this.#held.set(answer, (this.#held.get(answer) ?? 0) + bytes)
    this.#total += bytes
  }

  close(answer: symbol): void {
    this.#total -= this.#held.get(answer) ?? 0
    this.#held.delete(answer)
    for (const wake of this.#wake.splice(0)) wake()
  }
}

const GZIP_MAGIC = 0x1f8b

/**
 * A body as text: decompressed (servers behind some proxies compress unasked, and some do not declare it), without a
 * byte order mark.
 *
 * @throws AnswerTooLargeError when it is longer than `max_bytes`, compressed or not.
 */
export async function readBody(
  body: Readable,
  encoding: string | undefined,
  intake: Intake,
  { where, max_bytes }: { readonly where: string; readonly max_bytes: number },
): Promise<string> {
  const answer = intake.open()
  const chunks: Buffer[] = []
  let bytes = 0
  try {
    for await (const chunk of await decompressed(body, encoding, where)) {
      bytes += chunk.byteLength
      if (bytes > max_bytes) throw new AnswerTooLargeError(where, max_bytes)
      await intake.take(answer, chunk.byteLength)
      chunks.push(chunk)
    }
    // Drops a leading byte order mark.
    return new TextDecoder().decode(Buffer.concat(chunks, bytes))
  } finally {
    intake.close(answer)
  }
}

/** @throws CallFailedError for an encoding that is not supported. */
async function decompressed(body: Readable, encoding: string | undefined, where: string): Promise<Chunks> {
  const named = (encoding ?? '')
    .toLowerCase()
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '' && name !== 'identity')
  if (named.length === 0) return await undeclared(body)
  // Encodings are named in the order in which they were applied, so the last one is undone first.
  return named.reduceRight((chunks: Chunks, name) => {
    const decompressor = DECOMPRESSORS[name]
    if (decompressor === undefined) {
      const message = `${where}: cannot read content-encoding ${name}`
      throw new CallFailedError(message, { scope: 'endpoint', permanent: true })
    }
    return through(chunks, decompressor())
  }, body)
}

type Chunks = AsyncIterable<Buffer>

const DECOMPRESSORS: Readonly<Record<string, () => Duplex>> = {
  gzip: createGunzip,
  'x-gzip': createGunzip,
  deflate: createInflate,
  br: createBrotliDecompress,
  zstd: createZstdDecompress,
}

/** Gzip that the headers do not declare is recognised by its first bytes: no JSON begins with them. */
async function undeclared(body: Chunks): Promise<Chunks> {
  const chunks = body[Symbol.asyncIterator]()
  const first = await chunks.next()
  const isGzip = !first.done && first.value.byteLength >= 2 && first.value.readUInt16BE(0) === GZIP_MAGIC
  const whole = continued(first, chunks)
  return isGzip ? through(whole, createGunzip()) : whole
}

async function* continued(first: IteratorResult<Buffer>, rest: AsyncIterator<Buffer>): AsyncGenerator<Buffer> {
  for (let chunk = first; !chunk.done; chunk = await rest.next()) yield chunk.value
}

/** Pipes chunks through a decompressor, which also emits their errors. */
function through(chunks: Chunks, decompressor: Duplex): Chunks {
  pipeline(chunks, decompressor, () => {})
  return decompressor
}
