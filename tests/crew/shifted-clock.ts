import { readFileSync } from 'node:fs'

/**
 * Loaded before a program (`--import`): its wall clock is the host's plus what the file named by TEST_CLOCK says, in
 * milliseconds, read again ten times a second. JavaScript's `Date` is the only wall clock that the program reads; leases
 * are measured by the monotonic clock, which does not jump when a host's clock is set either.
 */
const file = process.env.TEST_CLOCK
const HostDate = Date
const host_now = Date.now.bind(Date)
let shift_ms = 0

function look(): void {
  if (file === undefined) return
  try {
    shift_ms = Number(readFileSync(file, 'utf8')) || 0
  } catch {
    // Being written just now: the next look sees it.
  }
}

look()
setInterval(look, 100).unref()
HostDate.now = () => host_now() + shift_ms
globalThis.Date = new Proxy(HostDate, {
  construct: (target, args, made) => Reflect.construct(target, args.length === 0 ? [target.now()] : args, made),
})
