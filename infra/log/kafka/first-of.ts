import { kindOf } from './errors.ts'

/**
 * The first that succeeds. Each is begun when the one before has failed, or has had its head start.
 * @throws what denies it, which another would do too, or else the last failure
 */
export async function firstOf<T>(acts: readonly (() => Promise<T>)[], head_start_ms: number): Promise<T> {
  const { promise, resolve, reject } = Promise.withResolvers<T>()
  let begun = 0
  let failed = 0
  let timer: NodeJS.Timeout | undefined
  const begin = () => {
    clearTimeout(timer)
    const act = acts[begun]
    if (act === undefined) return
    begun++
    timer = setTimeout(begin, head_start_ms)
    act().then(resolve, (error: unknown) => {
      failed++
      if (kindOf(error) === 'denied' || failed === acts.length) reject(error)
      else begin()
    })
  }
  begin()
  return await promise.finally(() => {
    begun = acts.length
    clearTimeout(timer)
  })
}
