import { connect } from 'node:net'
import { type Random, random } from '../../environments/tower/random.ts'
import { pick } from '../../testing/pick.ts'

/** Requests that no client would send, over raw sockets: the same seed sends the same bytes in the same pieces. */

export interface RawHttpOptions {
  readonly seed: string
  readonly requests: number
  /** host:port */
  readonly address: string
  /** A path that exists; `headers` authorise a request for it. */
  readonly path: string
  readonly headers?: readonly string[]
}

export interface RawHttpResult {
  /** Number of answers by status; 0: there was no answer. */
  readonly statuses: Readonly<Record<string, number>>
  /** Requests that were answered with an internal error, or with something that is not HTTP. */
  readonly faults: readonly string[]
}

const AT_ONCE = 8
/** On a connection left open without an answer the server waits for the rest of a request. Give up after this time. */
const PATIENCE_MS = 400

export async function sendRawHttp(options: RawHttpOptions): Promise<RawHttpResult> {
  const statuses: Record<string, number> = {}
  const faults: string[] = []
  let next = 0
  const worker = async () => {
    while (next < options.requests) {
      const number = next++
      const draw = random('raw-http', options.seed, number)
      const bytes = requestOf(draw, options)
      const answer = await exchange(options.address, piecesOf(draw, bytes))
      const status = answer === '' ? '0' : (/^HTTP\/1\.1 (\d{3}) /.exec(answer)?.[1] ?? 'no HTTP')
      statuses[status] = (statuses[status] ?? 0) + 1
      if (status === 'no HTTP' || status === '500') {
        faults.push(
          `request ${number} of seed ${options.seed}: ${status} to ${JSON.stringify(bytes.toString('latin1').slice(0, 300))}`,
        )
      }
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, worker))
  return { statuses, faults }
}

const METHODS = [
  'GET',
  'HEAD',
  'PUT',
  'POST',
  'OPTIONS',
  'DELETE',
  'CONNECT',
  'TRACE',
  'get',
  'G ET',
  '',
  'PRI',
  '\x00',
]
const TARGETS = [
  '//',
  '//x',
  '/\\',
  '*',
  '',
  ' ',
  'http://',
  'http://[',
  'http://[::1',
  'http://x:99999/',
  'ftp://x/',
  'x:80',
  '/%',
  '/%zz',
  '/%00',
  '/?%',
  '/../../etc/passwd',
  '/./',
  '/a b',
  '/\x01',
  '/\u00ff',
  '/#',
  '/?#?',
  '///',
  '/%2e%2e/%2e%2e',
  '/v1/blobs/..',
  '/metrics/',
  '//metrics',
  '/;',
]
const HOSTS = [
  'x',
  '',
  '[',
  '[::1]',
  'x:y',
  'x y',
  'x/..',
  '\x7f',
  'a'.repeat(300),
  '127.0.0.1:0',
  '@',
  'x@y',
  'http://x',
]
const HEADERS = [
  'content-length: 5',
  'content-length: -1',
  'content-length: 99999999999999999999',
  'content-length: 0x5',
  'content-length: 5\r\ncontent-length: 6',
  'transfer-encoding: chunked',
  'transfer-encoding: chunked, chunked',
  'transfer-encoding: gzip',
  'transfer-encoding: chunked\r\ncontent-length: 3',
  'expect: 100-continue',
  'expect: nonsense',
  'upgrade: websocket\r\nconnection: upgrade',
  'upgrade: h2c\r\nconnection: upgrade',
  'connection: close',
  'connection: keep-alive, close, x',
  'range: bytes=0-0',
  'range: bytes=-',
  'range: bytes=99999999999999999999-',
  'range: bytes=5-1',
  'range: bytes=-99999999999999999999',
  'authorization: Bearer ',
  'authorization: \x00',
  'accept-encoding: gzip, br',
  'if-none-match: *',
  ': nameless',
  'na me: x',
  'x',
  ' folded: x',
  'x:\ty',
  'cookie: a=b;;;=',
]
const BODIES = [
  '',
  '12345',
  '5\r\nhello\r\n0\r\n\r\n',
  'ffffffffffffffff\r\n',
  '5\r\nhel',
  '-1\r\n',
  '0\r\n\r\n',
  'x'.repeat(70_000),
  '\x00\x01\x02',
]

function requestOf(draw: Random, { path, headers = [] }: RawHttpOptions): Buffer {
  if (draw.integer(0, 19) === 0) return noise(draw, draw.integer(1, 4_000))
  const target =
    draw.integer(0, 2) === 0
      ? path
      : draw.integer(0, 9) === 0
        ? `/${'x'.repeat(draw.integer(1, 40_000))}`
        : pick(draw, TARGETS)
  const version =
    draw.integer(0, 7) === 0 ? pick(draw, ['HTTP/1.0', 'HTTP/0.9', 'HTTP/2.0', 'HTTP/9', 'http/1.1', '']) : 'HTTP/1.1'
  const method = draw.integer(0, 1) === 0 ? 'GET' : pick(draw, METHODS)
  const lines = [`${method} ${target} ${version}`]
  if (draw.integer(0, 7) !== 0) lines.push(`host: ${draw.integer(0, 3) === 0 ? pick(draw, HOSTS) : '127.0.0.1'}`)
  if (draw.integer(0, 3) !== 0) lines.push(...headers)
  for (let more = draw.integer(0, 3); more > 0; more--) lines.push(pick(draw, HEADERS))
  if (draw.integer(0, 19) === 0) lines.push(...Array.from({ length: draw.integer(90, 400) }, (_, at) => `x-${at}: y`))
  if (draw.integer(0, 19) === 0) lines.push(`x-long: ${'y'.repeat(draw.integer(1, 60_000))}`)
  const end = draw.integer(0, 14) === 0 ? '\n' : '\r\n'
  const whole = Buffer.from(lines.join(end) + end + end + pick(draw, BODIES), 'latin1')
  const bytes = draw.integer(0, 9) === 0 ? Buffer.concat([whole, whole, whole]) : whole
  const cut = draw.integer(0, 5) === 0 ? bytes.subarray(0, draw.integer(0, bytes.byteLength)) : bytes
  if (draw.integer(0, 5) === 0)
    for (let flips = draw.integer(1, 4); flips > 0 && cut.byteLength > 0; flips--)
      cut[draw.integer(0, cut.byteLength - 1)] = draw.integer(0, 255)
  return cut
}

const noise = (draw: Random, length: number) => Buffer.from(Array.from({ length }, () => draw.integer(0, 255)))

function piecesOf(draw: Random, bytes: Buffer): Buffer[] {
  if (draw.integer(0, 3) !== 0) return [bytes]
  const at = draw.integer(0, bytes.byteLength)
  return [bytes.subarray(0, at), bytes.subarray(at)]
}

/** Sends the pieces and reads until the other side closes, or nothing arrives for PATIENCE_MS. */
function exchange(address: string, pieces: readonly Buffer[]): Promise<string> {
  const [host = '', port = ''] = address.split(':')
  return new Promise((resolve) => {
    const socket = connect(Number(port), host)
    let answer = ''
    const end = () => {
      socket.destroy()
      resolve(answer)
    }
    socket.setTimeout(PATIENCE_MS, end)
    socket.on('data', (chunk) => {
      answer += chunk.toString('latin1')
    })
    socket.on('error', end)
    socket.on('close', end)
    socket.on('connect', async () => {
      for (const piece of pieces) {
        socket.write(piece)
        await new Promise((next) => setImmediate(next))
      }
    })
  })
}
