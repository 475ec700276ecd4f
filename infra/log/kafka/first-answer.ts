import { setTimeout as sleep } from 'node:timers/promises'

/**
 * What the first one gives that gives something. The next is asked when the one before has failed, or has been silent
 * for a while: several that never answer are waited for together, not one after the other.
 *
 * @throws what the last one failed with
 */
export async function firstAnswer<T>(asked: readonly (() => Promise<T>)[], patience_ms: number): Promise<T> {
  const answers: Promise<T>[] = []
  for (const ask of asked) {
    const answer = ask()
    answer.catch(() => undefined) // whoever waits for all of them hears
    answers.push(answer)
    const given = await Promise.race([
      answer.then(
        () => true,
        () => false,
      ),
      sleep(patience_ms, false),
    ])
    if (given) return await answer
  }
  try {
    return await Promise.any(answers)
  } catch (error) {
    throw (error as AggregateError).errors.at(-1)
  }
}
