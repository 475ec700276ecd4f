import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { makeBroker } from './kafkajs.ts'

/** A port of this machine on which no process listens. */
async function closedPort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  server.close()
  await once(server, 'close')
  return port
}

test('disconnecting again and again makes Node emit no warning', async () => {
  const options = { clientId: 'test', connectionTimeout: 1_000, requestTimeout: 1_000 }
  const broker = makeBroker('127.0.0.1', await closedPort(), options)
  const warnings: string[] = []
  const warned = (warning: Error) => warnings.push(warning.message)
  process.on('warning', warned)
  try {
    await expect(broker.connect()).rejects.toThrow('ECONNREFUSED')
    for (let time = 0; time < 20; time++) await broker.disconnect()
    // Node emits warnings in a later turn of the event loop.
    await sleep(10)
  } finally {
    process.off('warning', warned)
  }
  expect(warnings).toEqual([])
})

test('a connection closed while it is being opened keeps no process alive, even if it is never answered', async () => {
  const silent = createServer(() => undefined).listen(0, '127.0.0.1')
  await once(silent, 'listening')
  const { port } = silent.address() as { port: number }
  const module = new URL('./kafkajs.ts', import.meta.url).href
  const program = `
    const { makeBroker } = await import(${JSON.stringify(module)})
    const broker = makeBroker('127.0.0.1', ${port}, { clientId: 'test', connectionTimeout: 60000, requestTimeout: 60000 })
    broker.connect().catch(() => undefined)
    while (broker.connectionPool.pool[0].socket === undefined) await Promise.resolve()
    await broker.disconnect()
  `
  const child = spawn(process.execPath, ['--input-type=module', '--eval', program], { stdio: 'inherit' })
  try {
    const deadline = setTimeout(() => child.kill('SIGKILL'), 20_000)
    const [code, signal] = await once(child, 'exit')
    clearTimeout(deadline)
    expect({ code, signal }).toEqual({ code: 0, signal: null })
  } finally {
    child.kill('SIGKILL')
    silent.close()
  }
})
