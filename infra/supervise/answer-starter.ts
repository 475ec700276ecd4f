import { writeFileSync } from 'node:fs'
import { Socket } from 'node:net'
import { toFailure } from './failure.ts'
import { readFrames, writeFrame } from './frames.ts'
import { type FromChild, PIPE, type ToChild } from './messages.ts'

/** How a child process handles each call of the process that started it. It ends after `close`. */
export type Answers = { readonly close: Answer } & Readonly<Record<string, Answer>>
export type Answer = (options: unknown, signal: AbortSignal) => Promise<unknown>

let pipe: Socket | undefined

/**
 * Makes this process answer the one that started it, and end at once when that one ends, so that no unneeded process
 * keeps a file locked. Committed data stays.
 */
export function answerStarter(answers: Answers): void {
  // Ctrl-C reaches every process of a terminal, but only the starter decides when this one ends.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {})
  const end = () => process.kill(process.pid, 'SIGKILL')
  try {
    pipe = new Socket({ fd: PIPE })
  } catch {
    process.exit(1) // it was started by hand
  }
  pipe.on('close', end).on('end', end).on('error', end)
  offerToTheSystem()
  const running = new Map<number, AbortController>()
  readFrames(pipe, (message) => void answer(message as ToChild, answers, running), end)
}

async function answer(message: ToChild, answers: Answers, running: Map<number, AbortController>): Promise<void> {
  const { kind, id } = message
  if (kind === 'cancel') return running.get(id)?.abort()
  const stop = new AbortController()
  running.set(id, stop)
  try {
    const value = await answers[message.call]?.(message.options, stop.signal)
    tell({ kind: 'done', id, value })
    // Exit explicitly: a query that does not end would keep the process alive. First the answer is flushed.
    if (message.call === 'close') pipe?.end(() => process.exit(0))
  } catch (cause) {
    tell({ kind: 'failed', id, failure: toFailure(cause) })
  } finally {
    running.delete(id)
  }
}

function tell(message: FromChild): void {
  if (pipe !== undefined) writeFrame(pipe, message)
}

/** Reports something to the starter without being asked. */
export function tellStarter(told: unknown): void {
  tell({ kind: 'told', told })
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
