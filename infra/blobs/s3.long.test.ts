import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { AwsClient } from 'aws4fetch'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { retryOf } from '../retry.ts'
import { BlobMissingError, BlobsAwayError } from './blobs.ts'
import { type Moto, NO_MOTO, startMoto } from './conformance/moto.ts'
import { listed } from './conformance/steps.ts'
import { s3Blobs } from './s3.ts'
import type { S3Place } from './s3-options.ts'

const BYTES = Buffer.from('a tower')
const NEVER_PUT = { sha256: 'e'.repeat(64), bytes: 1, media_type: 'text/plain' }

if (NO_MOTO !== undefined) test.skip(`S3 (skipped: ${NO_MOTO})`)
else {
  describe('with credentials that are checked', () => {
    let moto: Moto
    let place: S3Place
    let allowed: Pick<S3Place, 'access_key_id' | 'secret_access_key'>
    let denied: typeof allowed

    beforeAll(async () => {
      moto = await startMoto(6)
      place = await moto.bucket('checked')
      allowed = await user('allowed')
      denied = await user('denied')
      const Statement = [{ Effect: 'Allow', Action: 's3:*', Resource: '*' }]
      const PolicyDocument = JSON.stringify({ Version: '2012-10-17', Statement })
      await iam({ Action: 'PutUserPolicy', UserName: 'allowed', PolicyName: 'all', PolicyDocument })
    })
    afterAll(() => moto.stop())

    async function iam(parameters: Record<string, string>): Promise<string> {
      const client = new AwsClient({ accessKeyId: 'a', secretAccessKey: 'b', region: 'us-east-1', service: 'iam' })
      const body = new URLSearchParams({ ...parameters, Version: '2010-05-08' }).toString()
      const headers = { 'content-type': 'application/x-www-form-urlencoded' }
      const answer = await client.fetch(place.endpoint, { method: 'POST', headers, body })
      const text = await answer.text()
      expect(answer.status, text).toBe(200)
      return text
    }

    async function user(UserName: string) {
      await iam({ Action: 'CreateUser', UserName })
      const text = await iam({ Action: 'CreateAccessKey', UserName })
      const [, access_key_id = ''] = /<AccessKeyId>(.*?)</.exec(text) ?? []
      const [, secret_access_key = ''] = /<SecretAccessKey>(.*?)</.exec(text) ?? []
      return { access_key_id, secret_access_key }
    }

    test('requests are signed as the store expects', async () => {
      const blobs = s3Blobs({ ...place, ...allowed, prefix: 'some/prefix' })
      const ref = await blobs.put(BYTES, 'text/plain')
      expect(Buffer.from(await blobs.get(ref))).toEqual(BYTES)
      expect(await blobs.has(ref)).toBe(true)
      expect(await listed(blobs)).toEqual([ref.sha256])
      await blobs.delete(ref)
      await expect(blobs.get(ref)).rejects.toThrow(BlobMissingError)
    })

    test.each([
      ['an unknown key', () => ({}), /answered 403 InvalidAccessKeyId: .*; the store does not know the key AWS_ACCESS/],
      [
        'a wrong secret',
        () => ({ ...allowed, secret_access_key: 'wrong' }),
        /answered 403 SignatureDoesNotMatch: .*; AWS_SECRET_ACCESS_KEY is not the secret of AWS_ACCESS_KEY_ID/,
      ],
      ['no permission', () => denied, /answered 403 AccessDenied: .*; a permission is missing: s3:GetObject/],
    ])('%s: every call fails with the remedy, and reports no blob as missing', async (_, change, message) => {
      const blobs = s3Blobs({ ...place, ...change() })
      for (const call of [
        () => blobs.put(BYTES, 'text/plain'),
        () => blobs.get(NEVER_PUT),
        () => blobs.has(NEVER_PUT),
      ]) {
        await expect(call()).rejects.toThrow(message)
        await expect(call()).rejects.toThrow(BlobsAwayError)
      }
    })
  })

  describe('without', () => {
    let moto: Moto
    beforeAll(async () => {
      moto = await startMoto()
    })
    afterAll(() => moto.stop())

    test('a missing bucket is not a missing blob', async () => {
      const place = { ...(await moto.bucket('there')), bucket: 'absent' }
      const blobs = s3Blobs(place)
      const message = /s3:\/\/absent at .*: answered 404 NoSuchBucket: .*; there is no such bucket; create it/
      await expect(blobs.put(BYTES, 'text/plain')).rejects.toThrow(message)
      await expect(blobs.get(NEVER_PUT)).rejects.toThrow(message)
      await expect(blobs.has(NEVER_PUT)).rejects.toThrow(message)
      await expect(listed(blobs)).rejects.toThrow(message)
    })

    test('an address at which nothing listens', async () => {
      const server = createServer().listen(0, '127.0.0.1')
      await once(server, 'listening')
      const { port } = server.address() as AddressInfo
      server.close()
      const blobs = s3Blobs({ ...(await moto.bucket('there')), endpoint: `http://127.0.0.1:${port}` })
      const error: unknown = await blobs.get(NEVER_PUT).catch((error: unknown) => error)
      expect(String(error)).toMatch(
        /s3:\/\/there at http:\/\/127\.0\.0\.1:\d+: nothing listens there; look at AWS_ENDPOINT/,
      )
      expect(retryOf(error)).toBe('later')
    })

    test('a list of more than one answer is complete; other objects of the bucket are left out', async () => {
      const place = await moto.bucket('many')
      const blobs = s3Blobs({ ...place, prefix: 'mine' })
      await s3Blobs({ ...place, prefix: 'other' }).put(BYTES, 'text/plain')
      await s3Blobs({ ...place, prefix: 'mine/deeper' }).put(BYTES, 'text/plain')
      const expected: string[] = []
      for (let at = 0; at < 1_005; at += 15) {
        const puts = Array.from({ length: 15 }, (_, more) => blobs.put(Buffer.from(`${at + more}`), 'text/plain'))
        for (const { sha256 } of await Promise.all(puts)) expected.push(sha256)
      }
      expect(await listed(blobs)).toEqual(expected.sort())
    })

    test('a store without conditional puts takes blobs too', async () => {
      const place = await moto.bucket('unconditional')
      const server = createServer(async (request, response) => {
        if (request.headers['if-none-match'] !== undefined) return void response.writeHead(501).end()
        const headers = request.headers as Record<string, string>
        const body = request.method === 'PUT' ? { body: request, duplex: 'half' as const } : {}
        const answer = await fetch(`${place.endpoint}${request.url}`, {
          method: String(request.method),
          headers,
          ...body,
        })
        response.writeHead(answer.status, { etag: answer.headers.get('etag') ?? '' }).end(await answer.text())
      }).listen(0, '127.0.0.1')
      await once(server, 'listening')
      onTestFinished(() => void server.close())
      const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
      const ref = await s3Blobs({ ...place, endpoint }).put(BYTES, 'text/plain')
      expect(Buffer.from(await s3Blobs(place).get(ref))).toEqual(BYTES)
    })
  })

  test.each([
    [200, '<html>log in</html>', { etag: '"x"' }],
    [206, 'p', {}],
    [404, '<html>no such page</html>', {}],
    [302, '', { location: 'http://127.0.0.1:1/login' }],
    [416, 'no range', {}],
    [204, '', {}],
    [407, 'proxy', {}],
  ])('an answer of %i that does not come from S3 reports no blob as missing', async (status, body, headers) => {
    const server = createServer((request, response) => {
      request.resume()
      const { etag: _, ...others } = headers as Record<string, string>
      response.writeHead(status, request.method === 'GET' ? headers : others).end(body || undefined)
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    onTestFinished(() => {
      server.closeAllConnections()
      server.close()
    })
    const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    const place = { bucket: 'b', prefix: '', endpoint, region: 'r', access_key_id: 'a', secret_access_key: 's' }
    const blobs = s3Blobs({ ...place, tries: 1 })
    await expect(blobs.put(BYTES, 'text/plain')).rejects.toThrow(BlobsAwayError)
    await expect(blobs.get(NEVER_PUT)).rejects.toThrow(BlobsAwayError)
    await expect(blobs.has(NEVER_PUT)).rejects.toThrow(BlobsAwayError)
    await expect(listed(blobs)).rejects.toThrow(BlobsAwayError)
  })
}
