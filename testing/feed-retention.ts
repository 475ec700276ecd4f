import { createHash } from 'node:crypto'
import { utimes } from 'node:fs/promises'
import { expect } from 'vitest'
import { blobFile } from '../infra/blobs/directory.ts'
import type { LogRecord } from '../infra/log/port/log.ts'
import { NEVER_ABORTED } from '../infra/runtime/execute/reach.ts'
import { blobFolder, folderBlobs } from '../pipeline/blob-stores.ts'
import { type DataFolder, duckdbFile } from '../pipeline/data-folder.ts'
import { type RetainOptions, type RetainReport, retain } from '../pipeline/retain/retain.ts'
import { wiringOn } from '../pipeline/wiring.ts'
import { groupFormed, rolloutRequested } from '../schemas/events/rollout.ts'
import { scenePresented } from '../schemas/events/tower.ts'
import { offsetsExpired } from '../schemas/events/training.ts'
import { processorsOf } from '../streams/describe.ts'
import { type FeedLog, SUBSCRIPTION } from './feed-log.ts'
import { trained } from './feed-snapshots.ts'
import { example } from './test-driver.ts'
import { requested, SCENE } from './tower-events.ts'

const DAY_MS = 86_400_000
const GROUPS = 16

/** What `retain` promises training consumers, whatever the log. @param dir of a data folder for its blobs */
export async function expectRetention(log: FeedLog, dir: string): Promise<void> {
  const scene = new SceneBlobs(log, dir)
  const names = Array.from({ length: GROUPS }, (_, at) => `g${at}`)
  for (const group of names) await scene.presented(group)
  await scene.put('of no record, and old', 2 * DAY_MS)
  await scene.put('of no record yet', 0)
  await log.form(GROUPS)
  const subscribing = log.feed()
  await (await subscribing.consumer('idle', 'open')).subscribe(SUBSCRIPTION, 'beginning')
  await subscribing.close()
  // Checkpoints after the groups 1 to 6 and 7 to 12; the other four wait.
  const { state } = await trained(log, 6)
  const kept = state.checkpoints.map(({ groups }) => groups.map(({ group_id }) => group_id))
  expect(kept.map(({ length }) => length)).toEqual([6, 6])
  const [oldest = []] = kept
  const later = names.filter((name) => !oldest.includes(name))

  const held = await retained(log, dir, { deletes: true })
  expect(await keysIn(log, groupFormed.type)).toEqual(names.toSorted())
  expect(await keysIn(log, rolloutRequested.type)).toEqual(names.toSorted())
  expect(whysOf(held)).toContainEqual(
    expect.stringMatching(/consumer idle has 0 open groups .*DELETE \/v1\/consumers\/idle/),
  )
  expect(held.blobs).toEqual({ blobs: 1, bytes: 21 })

  // A feed that fences the one before.
  const feed = log.feed()
  await (await feed.consumer('idle')).retire('it was a test')
  const told = await retained(log, dir, { deletes: false })
  expect(await keysIn(log, groupFormed.type)).toEqual(names.toSorted())
  expect(whysOf(told)).toContainEqual(expect.stringMatching(/consumer lab .*resume from checkpoint 1 3 \(run r1\)/))
  const done = await retained(log, dir, { deletes: true })
  expect(done).toEqual(told)
  const left = await keysIn(log, groupFormed.type)
  expect(left).toEqual(expect.arrayContaining(later))
  expect(left.length).toBeLessThan(GROUPS)
  expect(await keysIn(log, rolloutRequested.type)).toEqual(expect.arrayContaining(later))
  const needed = (await log.records(scenePresented.type)).map(({ key }) => key)
  expect(needed).toEqual(expect.arrayContaining(later.map((name) => `scene-${name}`)))
  for (const name of names) expect(await scene.has(name), name).toBe(needed.includes(`scene-${name}`))
  expect(done.blobs?.blobs).toBe(GROUPS - needed.length)
  expect(await scene.has('of no record yet')).toBe(true)

  // All that a resume of the oldest checkpoint rolls back is there.
  const lab = await feed.consumer('lab')
  const { epoch } = await lab.startRun({
    ...{ run: 'r1', attempt: 'again', world_size: 1, resume: 'checkpoint 1 3', lineage: null },
  })
  const wanted = { epoch, rank: 0, request: 'all', groups: GROUPS, bytes: 2 ** 30 }
  const leased = await lab.lease(wanted, 0, NEVER_ABORTED)
  expect(leased?.groups.map(({ group_id }) => group_id).sort()).toEqual(later.toSorted())
  expect(lab.standing.counts).toMatchObject({ dropped: 0, expired: 0, durable: 6 })
  // Nor does a consumer that subscribes now miss what it was never to have.
  expect(await log.records(offsetsExpired.type)).toEqual([])

  await retained(log, dir, { deletes: true, past: ['consumer/lab'] })
  expect(await keysIn(log, groupFormed.type)).toEqual([])
}

async function retained(
  log: FeedLog,
  dir: string,
  { past = [], ...options }: Pick<RetainOptions, 'deletes'> & { readonly past?: readonly string[] },
): Promise<RetainReport> {
  const place = { data: dir }
  const folder: DataFolder = {
    ...{ dir, log: log.log, blobs: folderBlobs(dir), duckdb_file: duckdbFile(dir), place, close: async () => {} },
  }
  const wiring = await wiringOn(folder, {})
  return await retain(folder, wiring, {
    // A minute from now: the clock of a broker may be ahead.
    ...{ older_than_ms: Date.now() + 60_000, blobs_before_ms: Date.now() - DAY_MS, places: {} },
    past: [...processorsOf(wiring).map(({ name }) => name), ...past],
    report: () => {},
    ...options,
  })
}

const whysOf = ({ partitions }: RetainReport) => partitions.flatMap(({ held_by }) => held_by)

async function keysIn(log: FeedLog, topic: string): Promise<string[]> {
  return (await log.records(topic)).map(({ key }: LogRecord) => String(key)).sort()
}

/** Scenes with pictures, of which each has the text of its name. */
class SceneBlobs {
  readonly #log: FeedLog
  readonly #dir: string

  constructor(log: FeedLog, dir: string) {
    this.#log = log
    this.#dir = dir
  }

  async put(text: string, age_ms: number) {
    const ref = await folderBlobs(this.#dir).put(Buffer.from(text), 'image/png')
    const then = new Date(Date.now() - age_ms)
    await utimes(blobFile(blobFolder(this.#dir).root, ref.sha256), then, then)
    return ref
  }

  async has(text: string): Promise<boolean> {
    const folder = folderBlobs(this.#dir)
    const sha256 = createHash('sha256').update(text).digest('hex')
    // To ask whether it is there would make it young.
    const reading = folder.get({ sha256, bytes: text.length, media_type: 'image/png' })
    return await reading.then(
      () => true,
      () => false,
    )
  }

  /** The scene that a group is about, and the request for the group. */
  async presented(group_id: string): Promise<void> {
    const image = { ...SCENE.image, ...(await this.put(group_id, 2 * DAY_MS)) }
    const scene_id = `scene-${group_id}`
    const presented = example(scenePresented, { ...SCENE, scene_id, image }, { id: `presented-${group_id}` })
    const asked = requested({ group_id }, `asked-${group_id}`)
    await this.#log.append(presented, { ...asked, causes: [presented.id] })
  }
}
