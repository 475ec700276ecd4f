import { parentPort, Worker, workerData } from 'node:worker_threads'

const EVERY_MS = 1_000

/**
 * Ends this process when the one that started it has ended. On its own thread: a kernel that never returns blocks
 * the thread that would notice the closed pipe.
 */
export function endWithStarter(): void {
  new Worker(new URL(import.meta.url), { workerData: process.ppid }).unref()
}

if (parentPort !== null && typeof workerData === 'number') {
  setInterval(() => {
    if (process.ppid !== workerData) process.kill(process.pid, 'SIGKILL')
  }, EVERY_MS)
}
