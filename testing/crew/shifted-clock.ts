import { readFileSync } from 'node:fs'

/**
 * Loaded before a program (`--import`): shifts its wall clock by the milliseconds in the file named by TEST_CLOCK,
 * which is read ten times a second. JavaScript's `Date` is the only wall clock that the program reads. Leases are
 * measured by the monotonic clock, which does not jump when a host's clock is set either.
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
    // The file is being written: the next look reads it.
  }
}

look()
setInterval(look, 100).unref()
HostDate.now = () => host_now() + shift_ms
globalThis.Date = new Proxy(HostDate, {
  construct: (target, args, made) => Reflect.construct(target, args.length === 0 ? [target.now()] : args, made),
})
