import { type Random, random } from '../../environments/tower/random.ts'
import { seedOf } from '../../processors/ask-policy/chat-request.ts'
import { CallFailedError, type HttpAnswer, type HttpClient } from '../../processors/processor.ts'
import type { GroupPlan } from './inputs.ts'

/** What a policy's server does with one request. */
export const MOODS = [
  'answers',
  'fewer choices',
  'breaks off',
  'nonsense',
  '500',
  '429',
  'hangs',
  'unreachable',
] as const
export type Mood = (typeof MOODS)[number]

/** One request, as the policy sees it. */
export interface Asked {
  readonly group_id: string
  readonly first_index: number
  readonly count: number
}

interface Body {
  readonly seed: number
  readonly n?: number
  readonly messages: readonly { readonly content: readonly { readonly type: string; readonly text?: string }[] }[]
}

/** The server that an effect calls: slow, out of order, and in half of the schedules faulty until it is healed. */
export class SimulatedPolicy {
  readonly #random: Random
  readonly #first = new Map<number, { readonly group_id: string; readonly index: number }>()
  readonly #trouble: number
  readonly #takes_n: boolean
  readonly #slowest_ms: number
  readonly moods = new Map<Mood, number>()
  #is_healed = false

  constructor(seed: string, groups: readonly GroupPlan[]) {
    this.#random = random('simulation', 'policy', seed)
    this.#trouble = this.#random.uniform() < 0.5 ? 0 : this.#random.uniform() * 0.5
    this.#takes_n = this.#random.uniform() < 0.7
    this.#slowest_ms = this.#random.integer(1, 300)
    for (const { group_id, size, seed: seed_of_group } of groups) {
      for (let index = 0; index < size; index++) this.#first.set(seedOf(seed_of_group, index), { group_id, index })
    }
  }

  /** No faults from now on. */
  heal(): void {
    this.#is_healed = true
  }

  /** The HTTP client of one process. */
  client(onAsked: (asked: Asked) => void): HttpClient {
    return {
      post: async (_url, body, signal) => {
        // Like the real client, never send a request that was aborted before.
        signal.throwIfAborted()
        const { seed, n = 1, messages } = body as Body
        const group_id = messages[0]?.content.find(({ type }) => type === 'text')?.text ?? ''
        const first = this.#first.get(seed)
        if (first?.group_id !== group_id) throw new Error(`asked for ${group_id} with seed ${seed}, which is nobody's`)
        onAsked({ group_id, first_index: first.index, count: n })
        const mood = this.#draw()
        this.moods.set(mood, (this.moods.get(mood) ?? 0) + 1)
        await delay(mood === 'hangs' ? 1e9 : this.#random.integer(0, this.#slowest_ms), signal)
        return this.#answer(mood, n, `${group_id} ${seed}`)
      },
    }
  }

  #draw(): Mood {
    if (this.#is_healed || this.#random.uniform() >= this.#trouble) return 'answers'
    return MOODS[this.#random.integer(1, MOODS.length - 1)] as Mood
  }

  #answer(mood: Mood, n: number, id: string): HttpAnswer {
    if (mood === 'unreachable') throw new CallFailedError('nothing listens there', { scope: 'endpoint' })
    if (mood === 'nonsense') return answered(200, 'this is no JSON')
    if (mood === '500') return answered(500, '{"error":{"message":"simulated"}}')
    if (mood === '429') return answered(429, '{"error":{"message":"simulated"}}', { 'retry-after': '0.2' })
    if (n > 1 && !this.#takes_n) return answered(400, '{"error":{"message":"n must be 1"}}')
    const choices = Array.from({ length: n }, (_, index) => ({
      index,
      finish_reason: mood === 'breaks off' && index === n - 1 ? 'abort' : 'stop',
      message: { content: `r${index} to ${id}` },
    }))
    return answered(200, JSON.stringify({ choices: mood === 'fewer choices' ? choices.slice(0, n >> 1) : choices }))
  }
}

function answered(status: number, text: string, headers: HttpAnswer['headers'] = {}): HttpAnswer {
  return { status, headers, text }
}

function delay(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms)
    signal.addEventListener('abort', () => {
      clearTimeout(timer)
      reject(signal.reason)
    })
  })
}
