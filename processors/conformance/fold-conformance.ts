import fc from 'fast-check'
import { describe, test, vi } from 'vitest'
import type { Event } from '../../schemas/declare/event.ts'
import type { AnyFold } from '../processor.ts'
import { generatedHistories, type Histories } from './histories.ts'
import { PROMISES, type Promised } from './promises.ts'
import { isTick, wordsOf } from './run-history.ts'

export interface FoldUnderTest {
  /**
   * Imports the fold's module and makes the fold. Called for each process: the modules are then loaded anew, so that
   * what one stored in a variable is not in the next one.
   */
  readonly load: () => Promise<AnyFold>
  /** Default: generated from the declarations of its inputs. */
  readonly histories?: Histories | undefined
}

/** Histories for each promise. */
const RUNS = 60
/** Fixed, so that a failure repeats. */
const SEED = 1

/** Registers a test for each promise that every fold must keep. A promise that it does not make is left out. */
export function foldConformance(fold: AnyFold, under_test: FoldUnderTest): void {
  describe(`${fold.name} keeps the promises of a fold`, () => {
    for (const promised of PROMISES) {
      if (promised.applies?.(fold) === false) continue
      test(promised.name, async () => await checkPromise(promised, under_test))
    }
  })
}

/** @throws Error naming the fold, the promise, the first difference, and the shortest history found that shows it. */
export async function checkPromise(promised: Promised, { load, histories }: FoldUnderTest): Promise<void> {
  const start = async () => {
    vi.resetModules()
    return await load()
  }
  const [fold, restarted] = [await start(), await start()]
  const drawn = histories ?? generatedHistories(fold)
  const seen = new Set<string>()
  const check = fc.asyncProperty(drawn, fc.nat(), fc.nat(), async (history, one, other) => {
    expectOwnIds(history)
    await promised.check({ fold, restarted, history, draws: [one, other], seen })
  })
  const { failed, counterexample, errorInstance } = await fc.check(check, { numRuns: RUNS, seed: SEED })
  const fail = (problem: unknown, context = '') => {
    const message = problem instanceof Error ? problem.message : String(problem)
    throw new Error(`${fold.name}: ${promised.name}: ${message}${context}`, { cause: problem })
  }
  if (failed) fail(errorInstance, `\nafter\n${counterexample?.[0].map((event) => `  ${wordsOf(event)}`).join('\n')}`)
  try {
    promised.atEnd?.(fold, seen, { runs: RUNS, is_generated: histories === undefined })
  } catch (error) {
    fail(error)
  }
}

/** Two events with one id are one event, so a history with such would prove nothing. */
function expectOwnIds(history: readonly Event[]): void {
  const ids = history.filter((event) => !isTick(event)).map(({ id }) => id)
  if (new Set(ids).size < ids.length) throw new Error(`expected each event of a history to have its own id, got ${ids}`)
}
