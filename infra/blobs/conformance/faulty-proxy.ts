import { once } from 'node:events'
import { createServer, type IncomingMessage, request as requestOf, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

/** What is wrong with the network in front of a store. */
export type Fault =
  | 'never answers'
  | 'answers 503'
  | 'another server answers 404'
  | 'breaks off once'
  | 'always breaks off'
  | 'changes bytes'

/** Transfers up to this size do not break off: headers, errors, lists. */
const SMALL_BYTES = 64 * 1024

export interface FaultyProxy {
  readonly url: string
  close(): void
}

/** A server in front of the one at `port` that spoils requests or their answers. */
export async function faultyProxy(port: number, fault: Fault): Promise<FaultyProxy> {
  /** Directions in which the next transfer breaks off. */
  const breaking = new Set(fault === 'breaks off once' || fault === 'always breaks off' ? ['up', 'down'] : [])

  /** Passes on the first half of a large transfer, then calls `cut`. @returns whether to pass on this piece */
  function halfOf(direction: string, headers: IncomingMessage['headers'], cut: () => void) {
    const bytes = Number(headers['content-length'] ?? 0)
    if (bytes <= SMALL_BYTES || !breaking.has(direction)) return () => true
    if (fault === 'breaks off once') breaking.delete(direction)
    let seen = 0
    return (chunk: Buffer) => {
      seen += chunk.byteLength
      if (seen <= bytes / 2) return true
      cut()
      return false
    }
  }

  function forward(request: IncomingMessage, response: ServerResponse): void {
    const { method, url, headers } = request
    const upstream = requestOf({ host: '127.0.0.1', port, method, path: url, headers, agent: false })
    const cut = () => {
      request.socket.destroy()
      upstream.destroy()
    }
    const mayPass = halfOf('up', headers, cut)
    request.on('data', (chunk) => mayPass(chunk) && upstream.write(chunk))
    request.on('end', () => upstream.end())
    for (const side of [request, response, upstream]) side.on('error', cut)
    upstream.on('response', (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers)
      const mayReturn = halfOf('down', answer.headers, cut)
      const is_blob = method === 'GET' && !url?.includes('?') && Number(answer.statusCode) < 300
      answer.on('data', (chunk: Buffer) => {
        if (fault === 'changes bytes' && is_blob) chunk.writeUInt8(chunk.readUInt8(0) ^ 1, 0)
        if (mayReturn(chunk)) response.write(chunk)
      })
      answer.on('end', () => response.end())
      answer.on('error', cut)
    })
  }

  const server = createServer((request, response) => {
    if (fault === 'never answers') return void request.resume()
    if (fault === 'answers 503') return void response.writeHead(503).end('busy')
    if (fault === 'another server answers 404') return void response.writeHead(404).end('<html>no such page</html>')
    forward(request, response)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close() {
      server.closeAllConnections()
      server.close()
    },
  }
}
