import type { Actor } from './actor.ts'
import type { VirtualTime, VirtualTimer } from './virtual-time.ts'

const host = {
  setTimeout: globalThis.setTimeout,
  clearTimeout: globalThis.clearTimeout,
  setImmediate: globalThis.setImmediate,
  now: Date.now,
  random: Math.random,
}

/**
 * Replaces the globals for timers, both clocks and randomness by the simulation's own, so that the runtime under test
 * is the very code that runs in production. Only while an actor runs: all other callers get the host's.
 *
 * @returns a function that restores the host's globals
 */
export function standInForHost(time: VirtualTime, uniform: () => number, running: () => Actor | undefined): () => void {
  const own = new WeakSet<object>()
  const steady = Object.getOwnPropertyDescriptor(performance, 'now')
  const hostNow = performance.now.bind(performance)
  globalThis.setTimeout = ((callback: () => void, ms = 0, ...rest: unknown[]) => {
    const owner = running()
    if (owner === undefined) return host.setTimeout(callback, ms, ...(rest as []))
    const timer = time.start(owner, ms, callback)
    own.add(timer)
    return timer
  }) as unknown as typeof setTimeout
  globalThis.clearTimeout = ((timer: unknown) => {
    if (typeof timer === 'object' && timer !== null && own.has(timer)) time.clear(timer as VirtualTimer)
    else host.clearTimeout(timer as NodeJS.Timeout | undefined)
  }) as typeof clearTimeout
  globalThis.setImmediate = ((callback: (...rest: unknown[]) => void, ...rest: unknown[]) => {
    const owner = running()
    if (owner === undefined) return host.setImmediate(callback, ...rest)
    const timer = time.start(owner, 0, () => callback(...rest))
    own.add(timer)
    return timer
  }) as unknown as typeof setImmediate
  Date.now = () => (running() === undefined ? host.now() : time.wall_ms)
  performance.now = () => (running() === undefined ? hostNow() : time.now_ms)
  Math.random = () => (running() === undefined ? host.random() : uniform())
  return () => {
    globalThis.setTimeout = host.setTimeout
    globalThis.clearTimeout = host.clearTimeout
    globalThis.setImmediate = host.setImmediate
    Date.now = host.now
    Math.random = host.random
    if (steady === undefined) Reflect.deleteProperty(performance, 'now')
    else Object.defineProperty(performance, 'now', steady)
  }
}

/** Resolves when nothing in this process can continue without the scheduler: every promise that could settle has. */
export const settled = () => new Promise<void>((resolve) => host.setImmediate(resolve))
