import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { serveBlobs } from '../infra/blobs/server.ts'

/** A blob server behind a slow network, in a separate process as in use; ends with its standard input. */
const [root = '', token = '', delay = ''] = process.argv.slice(2)
const DELAY_MS = Number(delay)

const server = await serveBlobs({ root, host: '127.0.0.1', port: 0, token })
const network = await slowNetwork(Number(server.address.split(':')[1]))
process.stdout.write(`${network.url}\n`)
process.stdin.resume()
await once(process.stdin, 'end')
process.exit(0)

/** A network in front of a port: what is sent arrives half the delay later, in each direction. */
async function slowNetwork(port: number) {
  const server = createServer((socket) => {
    const upstream = connect(port, '127.0.0.1')
    pass(socket, upstream)
    pass(upstream, socket)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` }
}

function pass(from: Socket, to: Socket): void {
  from.setNoDelay()
  from.on('data', (chunk) => setTimeout(() => to.write(chunk), DELAY_MS / 2))
  from.on('error', () => to.destroy())
  from.on('close', () => setTimeout(() => to.destroy(), DELAY_MS / 2))
}
