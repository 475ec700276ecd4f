import { kindOf } from './errors.ts'

/**
 * The first result. Each act starts when an earlier one has failed, or when the previous one's head start is over.
 * @throws a `denied` error at once, because the other acts would get it too; otherwise the last failure
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
