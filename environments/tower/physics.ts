/**
 * Simulates a placed block with Rapier (deterministic build: the same bits on every machine).
 *
 * A placed block is *lowered* straight down until it touches the tower or the floor, and released there. The paper's
 * blocks are not thrown, and restitution is 0, so the speed of a fall would be lost at contact. A solver that is given
 * this speed decides by the order of its contacts instead (measured: after a fall of 1 m Rapier topples blocks whose
 * centre of mass is 0.05 inside the support, at any solver setting).
 */

import type { RigidBody, World } from '@dimforge/rapier3d-deterministic-compat'
import RAPIER from '@dimforge/rapier3d-deterministic-compat'
import type { Placement, Position, WorldOutcome } from './placement.ts'
import { impossiblePlacement, isOverTower } from './placement.ts'
import { EDGE_UNITS, EDGE_WORLD, UNITS_PER_WORLD } from './task.ts'

export const PHYSICS_ENGINE = 'rapier3d-deterministic'

/** Inferred (design §7): wood on wood, no bounce. */
const FRICTION = 0.5
const RESTITUTION = 0
const GRAVITY = 9.81
const STEPS_PER_SECOND = 120
/** Maximum length of a run, in steps; the longest fall off a tower of three is at rest after 1.8 s. */
const STEP_LIMIT = 3 * STEPS_PER_SECOND
/**
 * Rest: every body below both speeds for a tenth of a second (inferred: in the slowest fall outside the excluded band,
 * centre of mass 5 units beyond the edge, the block turns at 0.18 rad/s after that time). Rapier's own sleep gives the
 * same result, but after 2 s, which its JavaScript binding cannot shorten.
 */
const REST_STEPS = STEPS_PER_SECOND / 10
const REST_SPEED = 0.03
const REST_TURN = 0.1
/** A block at rest this near the tower's top, in world units, is on it (inferred: Rapier's contacts yield by 0.001). */
const REST_HEIGHT_TOLERANCE = 0.02
/** Up to this |x|, in answer units, the top face supports the block: 0.48 edges, where the excluded band begins. */
const SUPPORTED_UNITS = 120

export interface Settlement {
  readonly outcome: WorldOutcome
  /** The moved block's centre at rest, in world units; null if nothing can be simulated (below_floor, inside_tower). */
  readonly settled: Position | null
  /** Rapier steps of 1/120 s that were simulated; 0 if a shortcut or the memo gave the result. */
  readonly steps: number
}

export interface Physics {
  readonly engine: string
  readonly version: string
  /** The outcome of the placed block. A pure function of the placement: memo and shortcuts change only the speed. */
  settle(placement: Placement): Settlement
}

export interface PhysicsOptions {
  /** Whether a clearly supported block, or one with a free way to the floor, skips the simulation. Default true. */
  readonly shortcuts?: boolean
  /** Maximum number of memoised runs; the oldest is evicted first; 0: none. Default 4096, more than can occur. */
  readonly memo_entries?: number
  /** Whether a run ends when all is at rest, not after three seconds. Default true; false measures what it saves. */
  readonly ends_at_rest?: boolean
}

/** Where the lowered block first touches something, in answer units: the physics depends on nothing else. */
interface Touchdown {
  readonly tower_blocks: number
  readonly x_units: number
  readonly bottom_units: number
}

let loaded: Promise<void> | undefined

/** Loads Rapier, once per process. */
export async function openPhysics(options: PhysicsOptions = {}): Promise<Physics> {
  const { shortcuts = true, memo_entries = 4096, ends_at_rest = true } = options
  // Without this, Rapier would decode and compile its 2 MB at every call.
  loaded ??= RAPIER.init()
  await loaded
  const memo = new Map<string, Settlement>()

  function settle(placement: Placement): Settlement {
    assertPlacement(placement)
    const impossible = impossiblePlacement(placement)
    if (impossible !== null) return { outcome: impossible, settled: null, steps: 0 }
    const touchdown = lower(placement)
    if (shortcuts) {
      const known = resolveWithoutStepping(touchdown)
      if (known !== null) return known
    }
    if (memo_entries === 0) return stepToRest(touchdown, ends_at_rest)
    const key = `${touchdown.tower_blocks}/${touchdown.x_units}/${touchdown.bottom_units}`
    const remembered = memo.get(key)
    if (remembered !== undefined) return { ...remembered, steps: 0 }
    const settlement = stepToRest(touchdown, ends_at_rest)
    if (memo.size >= memo_entries) memo.delete(memo.keys().next().value as string)
    memo.set(key, settlement)
    return settlement
  }

  return { engine: PHYSICS_ENGINE, version: RAPIER.version(), settle }
}

/** The end of the block's descent. A block that overlaps the tower within the tolerance is moved flush with it. */
function lower(placement: Placement): Touchdown {
  const { tower_blocks, x_units } = placement
  if (isOverTower(placement)) return { tower_blocks, x_units, bottom_units: tower_blocks * EDGE_UNITS }
  const clear_units = Math.max(Math.abs(x_units), EDGE_UNITS)
  return { tower_blocks, x_units: x_units < 0 ? -clear_units : clear_units, bottom_units: 0 }
}

function resolveWithoutStepping(touchdown: Touchdown): Settlement | null {
  const settled = centreOf(touchdown)
  if (touchdown.bottom_units === 0) return { outcome: 'unstable', settled, steps: 0 }
  if (Math.abs(touchdown.x_units) <= SUPPORTED_UNITS) return { outcome: 'stable', settled, steps: 0 }
  return null
}

/** A fresh world per run, so that no run affects the next; freed even if a step throws. */
function stepToRest(touchdown: Touchdown, ends_at_rest: boolean): Settlement {
  const world = new RAPIER.World({ x: 0, y: -GRAVITY, z: 0 })
  try {
    world.timestep = 1 / STEPS_PER_SECOND
    const floor = new RAPIER.ColliderDesc(new RAPIER.HalfSpace({ x: 0, y: 1, z: 0 }))
    world.createCollider(floor.setFriction(FRICTION).setRestitution(RESTITUTION))
    const start = centreOf(touchdown)
    const moved = addBlock(world, start)
    const bodies = [moved]
    for (let level = 0; level < touchdown.tower_blocks; level++) {
      bodies.push(addBlock(world, { x: 0, y: (level + 0.5) * EDGE_WORLD }))
    }
    let steps = 0
    let stillSteps = 0
    while (steps < STEP_LIMIT && !(ends_at_rest && stillSteps >= REST_STEPS)) {
      step(world)
      steps++
      stillSteps = areStill(bodies) ? stillSteps + 1 : 0
    }
    const { x, y } = moved.translation()
    const isOnTop = Math.abs(y - (touchdown.tower_blocks + 0.5) * EDGE_WORLD) <= REST_HEIGHT_TOLERANCE
    const isAtRest = stillSteps >= REST_STEPS
    return { outcome: isAtRest && isOnTop ? 'stable' : 'unstable', settled: { x, y }, steps }
  } finally {
    world.free()
  }
}

/**
 * `world.step()` without its final pass over every body and collider, which looks for any that the step created or
 * removed. Here none does (measured: 6 % more runs per second, the median of seven pairs on a busy machine).
 */
function step(world: World): void {
  world.physicsPipeline.step(
    world.gravity,
    world.integrationParameters,
    world.islands,
    world.broadPhase,
    world.narrowPhase,
    world.bodies,
    world.colliders,
    world.softBodies,
    world.impulseJoints,
    world.multibodyJoints,
    world.ccdSolver,
  )
}

function addBlock(world: World, centre: Position): RigidBody {
  const body = world.createRigidBody(RAPIER.RigidBodyDesc.dynamic().setTranslation(centre.x, centre.y, 0))
  const half = EDGE_WORLD / 2
  const shape = RAPIER.ColliderDesc.cuboid(half, half, half).setDensity(1)
  world.createCollider(shape.setFriction(FRICTION).setRestitution(RESTITUTION), body)
  return body
}

/** Reused, filled in by Rapier: reading a velocity in each step should not allocate an object. */
const velocity = { x: 0, y: 0, z: 0 }

/** Fast, because the moved block is first in `bodies`: it moves whenever anything does. */
function areStill(bodies: readonly RigidBody[]): boolean {
  for (const body of bodies) {
    const speed = body.linvel(velocity)
    if (speed.x * speed.x + speed.y * speed.y + speed.z * speed.z > REST_SPEED * REST_SPEED) return false
    const turn = body.angvel(velocity)
    if (turn.x * turn.x + turn.y * turn.y + turn.z * turn.z > REST_TURN * REST_TURN) return false
  }
  return true
}

function centreOf(touchdown: Touchdown): Position {
  return {
    x: touchdown.x_units / UNITS_PER_WORLD,
    y: (touchdown.bottom_units + EDGE_UNITS / 2) / UNITS_PER_WORLD,
  }
}

function assertPlacement({ tower_blocks, x_units, bottom_units }: Placement): void {
  if (
    Number.isSafeInteger(x_units) &&
    Number.isSafeInteger(bottom_units) &&
    Number.isSafeInteger(tower_blocks) &&
    tower_blocks >= 1
  )
    return
  throw new RangeError(
    `placement: expected at least one tower block and integer answer units, got ${JSON.stringify({ tower_blocks, x_units, bottom_units })}`,
  )
}
