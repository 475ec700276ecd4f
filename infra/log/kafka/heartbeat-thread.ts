import { parentPort } from 'node:worker_threads'
import { Connection } from './connection.ts'
import { isTemporary, kindOf, rootOf } from './errors.ts'
import type { Beat, Beating, ToThread } from './heartbeats.ts'

/** One connection to each log, and a timer for each member. */
const connections = new Map<string, Connection>()
const timers = new Map<string, NodeJS.Timeout>()

parentPort?.on('message', (message: ToThread) => {
  const id = 'add' in message ? message.add.id : message.remove
  clearInterval(timers.get(id))
  timers.delete(id)
  if ('add' in message) timers.set(id, setInterval(beating(message.add), message.add.every_ms))
})

function beating(of: Beating): () => Promise<void> {
  let busy = false
  return async () => {
    if (busy) return
    busy = true
    const { id, group, member, generation } = of
    const say = (refused: string | undefined, denied = false) =>
      parentPort?.postMessage({ id, member, generation, refused, denied } satisfies Beat)
    const connection = connectionTo(of)
    try {
      const coordinator = await connection.coordinator('group', group)
      await coordinator.heartbeat({ groupId: group, groupGenerationId: generation, memberId: member })
      say(undefined)
    } catch (error) {
      const { type, message } = rootOf(error)
      const kind = kindOf(error)
      // REBALANCE_IN_PROGRESS is no failure: report it. An unreachable broker shows in the session time-out.
      if (isTemporary(kind) && type !== 'REBALANCE_IN_PROGRESS') await connection.forget(error)
      else say(type ?? message ?? 'unknown', kind === 'denied')
    } finally {
      busy = false
    }
  }
}

function connectionTo({ address }: Beating): Connection {
  const known = connections.get(address.text)
  if (known !== undefined) return known
  const made = new Connection(address, `plumbline/heartbeats/${process.pid}`)
  connections.set(address.text, made)
  return made
}
