import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, test } from 'vitest'
import type { BlobRef } from '../../../schemas/declare/logical-types.ts'
import { s3Blobs } from '../s3.ts'
import { blobConformance } from './conformance.ts'
import { type FaultyProxy, faultyProxy } from './faulty-proxy.ts'
import { type Moto, NO_MOTO, signing, startMoto } from './moto.ts'

if (NO_MOTO !== undefined) test.skip(`S3 keeps the promises of a blob store (skipped: ${NO_MOTO})`)
else {
  let moto: Moto
  beforeAll(async () => {
    moto = await startMoto()
  })
  afterAll(() => moto.stop())

  blobConformance('S3', async () => {
    const place = { ...(await moto.bucket(randomUUID())), prefix: 'a/prefix' }
    const proxies: FaultyProxy[] = []
    const through = async (port: number, fault: Parameters<typeof faultyProxy>[1], stall_ms: number) => {
      const proxy = await faultyProxy(port, fault)
      proxies.push(proxy)
      return s3Blobs({ ...place, endpoint: proxy.url, tries: 2, stall_ms })
    }
    return {
      open: () => s3Blobs(place),
      through: (fault) => through(moto.port, fault, fault === 'never answers' ? 150 : 10_000),
      async away() {
        const blobs = await through(moto.port, 'answers 503', 10_000)
        for (const proxy of proxies) proxy.close()
        return blobs
      },
      async damage({ sha256 }: BlobRef, bytes) {
        const url = `${place.endpoint}/${place.bucket}/a/prefix/${sha256.slice(0, 2)}/${sha256.slice(2)}`
        const body = new Uint8Array(bytes)
        await signing(place).fetch(url, { method: 'PUT', body })
      },
      async close() {
        for (const proxy of proxies) proxy.close()
      },
    }
  })
}
