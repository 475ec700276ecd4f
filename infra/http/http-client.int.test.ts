import { createServer } from 'node:http'
import { expect, test } from 'vitest'
import { httpClient } from './http-client.ts'
import { listen } from './listen.ts'

test('a request that was aborted before it was sent is never sent, also over a reused connection', async () => {
  const seen: string[] = []
  const server = createServer((request, response) => {
    seen.push(request.url ?? '')
    request.resume().on('end', () => response.end('{}'))
  })
  const { address, close } = await listen(server, { host: '127.0.0.1', port: 0 })
  try {
    const client = httpClient()
    const post = (path: string, signal: AbortSignal) => client.post(`http://${address}${path}`, {}, signal)
    const given_up = AbortSignal.abort(new Error('given up'))
    await expect(post('/unwanted', given_up)).rejects.toThrow('given up')
    await post('/first', new AbortController().signal)
    await expect(post('/unwanted', given_up)).rejects.toThrow('given up')
    await post('/second', new AbortController().signal)
    expect(seen).toEqual(['/first', '/second'])
  } finally {
    await close()
  }
})
