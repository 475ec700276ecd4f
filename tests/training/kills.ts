import { type Random, random } from '../../environments/tower/random.ts'
import { pick } from '../../testing/pick.ts'

/** Where a process is killed. */
export interface Kill {
  readonly who: 'feed' | 'rank-0' | 'rank-1' | 'sampler' | 'scorer' | 'sink'
  /** Of a rank: before or after a call; of the feed: a stage of its commit; of the others: so many ms from now. */
  readonly when: string
  readonly path?: string
}

/** Inside each of: a lease, from begin_step to the receipt, from a checkpoint's file to its receipt, a resume. */
const KINDS: readonly ((draw: Random) => Kill)[] = [
  (draw) => ({ who: pick(draw, ['rank-0', 'rank-1']), when: 'after', path: '/leases' }),
  (draw) => ({ who: pick(draw, ['rank-0', 'rank-1']), when: 'before', path: '/receipts' }),
  () => ({ who: 'rank-0', when: 'before', path: '/checkpoints' }),
  (draw) => ({ who: pick(draw, ['rank-0', 'rank-1']), when: 'after', path: '/runs' }),
  () => ({ who: 'feed', when: 'decided' }),
  () => ({ who: 'feed', when: 'committed' }),
  (draw) => ({ who: pick(draw, ['sampler', 'scorer', 'sink']), when: String(draw.integer(0, 400)) }),
  () => ({ who: 'rank-0', when: 'after', path: '/checkpoints' }),
]

/** Without a feed. A commit dies when its records are sent and its transaction has not ended. */
const KINDS_OVER_KAFKA: readonly ((draw: Random) => Kill)[] = [
  (draw) => ({ who: pick(draw, ['rank-0', 'rank-1']), when: 'after', path: '/leases' }),
  (draw) => ({ who: pick(draw, ['rank-0', 'rank-1']), when: 'before', path: '/receipts' }),
  () => ({ who: 'rank-0', when: 'before', path: '/checkpoints' }),
  () => ({ who: 'rank-0', when: 'before', path: '/commits' }),
  () => ({ who: 'rank-0', when: 'after', path: '/commits' }),
  (draw) => ({ who: pick(draw, ['rank-0', 'rank-1']), when: 'after', path: '/runs' }),
  (draw) => ({ who: pick(draw, ['sampler', 'scorer', 'sink']), when: String(draw.integer(0, 400)) }),
  () => ({ who: 'rank-0', when: 'before', path: '/runs' }),
]

export function scheduleOf(seed: string, kills: number, over: 'http' | 'kafka' = 'http'): Kill[] {
  const draw = random('training test', seed)
  const kinds = over === 'http' ? KINDS : KINDS_OVER_KAFKA
  const all = Array.from({ length: kills }, (_, at) => (kinds[at % kinds.length] as (draw: Random) => Kill)(draw))
  return all
    .map((kill) => ({ kill, key: draw.uniform() }))
    .sort((one, other) => one.key - other.key)
    .map(({ kill }) => kill)
}
