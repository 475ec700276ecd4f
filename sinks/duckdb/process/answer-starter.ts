import { writeFileSync } from 'node:fs'
import { type Call, type FromProcess, type ToProcess, toFailure } from './messages.ts'

/** How a child process handles each call of the process that started it. */
export type Answers = Readonly<Record<Call['call'], (options: unknown, signal: AbortSignal) => Promise<unknown>>>

/**
 * Makes this process answer the one that started it, and end at once when that one ends, so that no unneeded process
 * keeps the file locked. Committed data stays.
 */
export function answerStarter(answers: Answers): void {
  // Ctrl-C reaches every process of a terminal, but only the starter decides when this one ends.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {})
  process.on('disconnect', () => process.kill(process.pid, 'SIGKILL'))
  if (!process.connected) process.exit(1)
  offerToTheSystem()
  const running = new Map<number, AbortController>()
  process.on('message', async (message: ToProcess) => {
    const { kind, id } = message
    if (kind === 'cancel') return running.get(id)?.abort()
    const stop = new AbortController()
    running.set(id, stop)
    try {
      const value = await answers[message.call](message.options, stop.signal)
      tellStarter({ kind: 'done', id, value })
      // Exit explicitly: a query that does not end would keep the process alive.
      if (message.call === 'close') setImmediate(() => process.exit(0))
    } catch (cause) {
      tellStarter({ kind: 'failed', id, failure: toFailure(cause) })
    } finally {
      running.delete(id)
    }
  })
}

export function tellStarter(message: FromProcess): void {
  if (process.connected) process.send?.(message, undefined, undefined, () => {})
}

let asked = 0

/**
 * Reports a question to the starter, which ends this process if the question exceeds its limit.
 * @returns a function to call when the question has ended
 */
export function tellQuestion(time_limit_ms: number): () => void {
  const question = ++asked
  tellStarter({ kind: 'question', question, time_limit_ms })
  return () => tellStarter({ kind: 'answered', question })
}

/** If memory runs out, Linux should kill this process, not the one that computes. */
function offerToTheSystem(): void {
  if (process.platform !== 'linux') return
  try {
    writeFileSync('/proc/self/oom_score_adj', '500')
  } catch {
    // Not every container allows this.
  }
}
