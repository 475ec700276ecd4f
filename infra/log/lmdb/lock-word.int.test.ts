import { mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { temporaryFolder } from '../../../testing/temporary-folder.ts'
import { openLmdbLog } from './lmdb-log.ts'

const RUBBISH = {
  empty: '',
  null: 'null',
  list: '[]',
  text: '"x"',
  number: '7',
  cut: '{"at":',
  beyond: '{"at":1e9}',
  fraction: '{"at":0.5}',
  bytes: Buffer.from([0, 255, 254, 1]),
  large: 'x'.repeat(10_000_000),
}

test.each([...Object.keys(RUBBISH), 'folder'] as (keyof typeof RUBBISH | 'folder')[])(
  'a log can be opened and written whatever lock-word.json contains: %s',
  async (what) => {
    const dir = await temporaryFolder()
    const note = join(dir, 'lock-word.json')
    expect(await appendTo(dir)).toEqual([1n])
    await rm(note, { force: true })
    if (what === 'folder') await mkdir(note)
    else await writeFile(note, RUBBISH[what])
    expect(await appendTo(dir)).toEqual([2n])
  },
)

/** @returns the end offsets after the append */
async function appendTo(dir: string): Promise<readonly bigint[]> {
  const log = await openLmdbLog({ dir })
  await log.createTopics([{ name: 'a', partitions: 1 }])
  const producer = await log.producer({ transactional_id: 'test' })
  const transaction = producer.begin()
  transaction.append('a', 0, { key: null, headers: [], value: Buffer.from('x') })
  await transaction.commit()
  const ends = await log.endOffsets('a')
  await producer.close()
  await log.close()
  return ends
}
