import { createHash } from 'node:crypto'
import type { DataOf, EventType } from '../schemas/declare/event.ts'
import { type PURPOSES, rolloutRequested } from '../schemas/events/rollout.ts'
import { type PROMPT_VARIANTS, scenePresented, startAt, type TASKS } from '../schemas/events/tower.ts'
import { towerOrigin } from '../schemas/events/tower-origin.ts'
import { type Emitted, emitted } from './source.ts'

/** A source's virtual clock: it starts here and advances one second per scene. Inferred; only differences matter. */
const START_MS = Date.parse('2026-01-01T00:00:00.000Z')
const SCENE_MS = 1_000
/** Time until a group expires, on that clock. */
const DEADLINE_MS = 3_600_000
/**
 * The same on the host's clock. Inferred: longer than a policy takes for a group that is not lost, and short enough that
 * a generator that waits for lost groups goes on in the same session.
 */
export const WALL_DEADLINE_MS = 600_000

/** The event types of a scene and its request. */
export const PRESENTED: readonly EventType[] = [scenePresented, rolloutRequested]

type Prompt = DataOf<typeof rolloutRequested>['prompt']

export interface PresentedScene {
  /** `ce_source`. */
  readonly source: string
  /** The generator's seed; undefined if nothing was drawn at random. */
  readonly seed?: string
  /** Position among the source's scenes; determines the time. */
  readonly index: number
  readonly presented_id: string
  readonly scene: DataOf<typeof scenePresented>
  readonly requested_id: string
  /** When it is asked, on the host's clock, where the group expires on that one. */
  readonly asked_at?: string | undefined
  readonly request: {
    readonly group_id: string
    readonly task: (typeof TASKS)[number]
    readonly prompt: Prompt
    readonly group_size: number
    readonly seed: string
    readonly round: number
    readonly purpose: (typeof PURPOSES)[number]
  }
}

/**
 * The events for a scene and for one group of completions about it, on a virtual clock; the request on the host's where
 * it says when it is asked.
 */
export function presentScene(options: PresentedScene): Emitted[] {
  const { source, seed, index, scene, request, asked_at } = options
  const { group_id } = request
  const at = START_MS + index * SCENE_MS
  const shared = { source, time: iso(at), clock: 'virtual', ...(seed === undefined ? {} : { seed }) } as const
  const { deadline, ...asked } =
    asked_at === undefined
      ? { time: shared.time, clock: shared.clock, deadline: at + DEADLINE_MS }
      : { time: asked_at, clock: 'wall' as const, deadline: Date.parse(asked_at) + WALL_DEADLINE_MS }
  const causes = [options.presented_id]
  const envelope = { ...shared, ...asked, id: options.requested_id, causes, correlation: group_id }
  return [
    emitted(scenePresented, scene, { ...shared, id: options.presented_id }),
    emitted(
      rolloutRequested,
      {
        ...request,
        origin: towerOrigin.name,
        ...startAt(scene),
        policy_role: 'policy',
        sampling: { temperature: null, top_p: null, top_k: null, max_tokens: null, stop: [] },
        deadline: { clock: asked.clock, time: iso(deadline) },
      },
      envelope,
    ),
  ]
}

export function promptOf(text: string, variant: (typeof PROMPT_VARIANTS)[number]): Prompt {
  return { text, sha256: createHash('sha256').update(text).digest('hex'), variant }
}

const iso = (ms: number) => new Date(ms).toISOString()
