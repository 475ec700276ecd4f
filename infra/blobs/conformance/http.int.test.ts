import { writeFile } from 'node:fs/promises'
import { temporaryFolder } from '../../../testing/temporary-folder.ts'
import { blobFile } from '../directory.ts'
import { httpBlobs } from '../http.ts'
import { serveBlobs } from '../server.ts'
import { blobConformance } from './conformance.ts'
import { type FaultyProxy, faultyProxy } from './faulty-proxy.ts'

const token = 'a secret'

blobConformance('a blob server', async () => {
  const root = await temporaryFolder()
  const server = await serveBlobs({ root, host: '127.0.0.1', port: 0, token, allow_delete: true })
  const url = `http://${server.address}`
  const proxies: FaultyProxy[] = []
  return {
    open: () => httpBlobs({ url, token }),
    async through(fault) {
      const proxy = await faultyProxy(Number(new URL(url).port), fault)
      proxies.push(proxy)
      return httpBlobs({ url: proxy.url, token, tries: 2, stall_ms: fault === 'never answers' ? 150 : 10_000 })
    },
    async away() {
      const gone = await faultyProxy(0, 'answers 503')
      gone.close()
      return httpBlobs({ url: gone.url, token, tries: 2 })
    },
    damage: (ref, bytes) => writeFile(blobFile(root, ref.sha256), bytes),
    async close() {
      for (const proxy of proxies) proxy.close()
      await server.close()
    },
  }
})
